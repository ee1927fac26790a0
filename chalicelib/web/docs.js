// The API reference: Swagger UI on this service's OpenAPI document, with the token of the session.
// Swagger UI is a classic script, which the page loads before its modules.
import { validToken } from "./api.js";
import { pageUrl, root, token } from "./session.js";
import { byId, el, notice, startAnyPage, startPage } from "./ui.js";

const SECURITY_SCHEME = "bearer"; // as named in the OpenAPI document

const preauthorised = token(); // the session's token when the page was opened

/**
 * A plugin that makes Swagger UI fit into this page. The layout leaves out the title, the <main> element and the
 * choice of servers. Paths of operations are not links, because each stands inside a button.
 */
function pagePlugin({ React }) {
  const make = React.createElement;

  function PageLayout({ getComponent, specSelectors }) {
    const part = (name, container = true) => make(getComponent(name, container));
    const status = specSelectors.loadingStatus();
    if (status === "loading") return make("p", { className: "sub" }, "Loading…");
    if (status === "failed" || status === "failedConfig") return make("p", { className: "error", role: "alert" }, "The OpenAPI document could not be loaded. Reload the page to try again.");
    return make("div", { className: "swagger-ui" },
      part("SvgAssets", false), part("errors"), part("AuthorizeBtnContainer"),
      make("h2", {}, "Operations"), part("operations"), part("Models"));
  }

  return { components: { PageLayout, DeepLink: ({ text }) => make("span", {}, text) } };
}

/** Add the labels and tab stops that Swagger UI lacks. */
function improveAccessibility(place) {
  for (const code of place.querySelectorAll("pre:not([tabindex])")) code.tabIndex = 0; // it may scroll
  for (const text of place.querySelectorAll("textarea:not([aria-label])")) text.ariaLabel = "Body or value to send";
  for (const region of place.querySelectorAll("[role=region]:not([aria-label])")) {
    region.ariaLabel = `${region.classList.contains("live-responses-table") ? "Response" : "Possible responses"} of ${region.closest(".opblock")?.id ?? "the operation"}`;
  }
}

/** Replace the session's token in a request of Swagger UI by a valid one. A token that the reader entered is kept. */
async function withValidToken(sent) {
  if (token() !== null && sent.headers.Authorization === `Bearer ${preauthorised}`) {
    sent.headers.Authorization = `Bearer ${await validToken()}`;
  }
  return sent;
}

function startSwagger() {
  const place = byId("swagger-ui");
  new MutationObserver(() => {
    improveAccessibility(place);
    if (place.querySelector(".opblock, [role=alert]") !== null) place.ariaBusy = null;
  }).observe(place, { childList: true, subtree: true, attributeFilter: ["role"] });
  const swagger = window.SwaggerUIBundle({
    url: new URL("openapi.json", root).href,
    dom_id: "#swagger-ui",
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    validatorUrl: null,
    layout: "PageLayout",
    plugins: [pagePlugin],
    onComplete() {
      if (preauthorised !== null) swagger.preauthorizeApiKey(SECURITY_SCHEME, preauthorised);
    },
    requestInterceptor: withValidToken,
  });
}

function showSession() {
  if (token() !== null) {
    startPage();
    byId("authorised").textContent = "You are signed in. Requests that you try here are sent with your token and change your data.";
    return;
  }
  startAnyPage();
  byId("who").remove();
  byId("sign-out").replaceWith(el("a", { className: "button quiet", href: pageUrl("login") }, "Sign in"));
}

showSession();
if (window.SwaggerUIBundle === undefined) {
  byId("swagger-ui").ariaBusy = null;
  notice("The API reference could not be loaded. Reload the page to try again.");
} else startSwagger();
