// Swagger UI on this service's own description, with the session's token where there is one.
import { pageUrl, root, token } from "./session.js";
import { byId, el, startAnyPage, startPage } from "./ui.js";

const BEARER = "bearer"; // the name of the scheme in the description

/**
 * Swagger UI's own parts in a layout that fits into this page: it has a title, a <main> and one server already. And an
 * operation's path without a link, because it stands inside a button.
 */
function fitting({ React }) {
  const make = React.createElement;

  function PageLayout({ getComponent, specSelectors }) {
    const part = (name, container = true) => make(getComponent(name, container));
    const state = specSelectors.loadingStatus();
    if (state === "loading") return make("p", { className: "sub" }, "Loading…");
    if (state === "failed" || state === "failedConfig") return make("p", { className: "error", role: "alert" }, "The description could not be loaded. Reload the page to try again.");
    return make("div", { className: "swagger-ui" },
      part("SvgAssets", false), part("errors"), part("AuthorizeBtnContainer"),
      make("h2", {}, "Operations"), part("operations"), part("Models"));
  }

  return { components: { PageLayout, DeepLink: ({ text }) => make("span", {}, text) } };
}

/** What Swagger UI leaves out for those who do not see the page, or use it by keyboard. */
function mend() {
  const place = byId("swagger-ui");
  for (const code of place.querySelectorAll("pre:not([tabindex])")) code.tabIndex = 0; // it may scroll
  for (const text of place.querySelectorAll("textarea:not([aria-label])")) text.ariaLabel = "Body or value to send";
  for (const region of place.querySelectorAll("[role=region]:not([aria-label])")) {
    region.ariaLabel = `${region.classList.contains("live-responses-table") ? "Answer" : "Responses"} of ${region.closest(".opblock")?.id ?? "the operation"}`;
  }
}

function showWhoIsThere() {
  if (token() !== null) {
    startPage();
    byId("authorised").textContent = "You are signed in: requests that you try are sent with your token, and change your data.";
    return;
  }
  startAnyPage();
  byId("sign-out").replaceWith(el("a", { className: "button quiet", href: pageUrl("login") }, "Sign in"));
}

showWhoIsThere();
new MutationObserver(mend).observe(byId("swagger-ui"), { childList: true, subtree: true });

const swagger = window.SwaggerUIBundle({
  url: new URL("openapi.json", root).href,
  dom_id: "#swagger-ui",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
  layout: "PageLayout",
  plugins: [fitting],
  onComplete() {
    byId("swagger-ui").classList.remove("pending");
    if (token() !== null) swagger.preauthorizeApiKey(BEARER, token());
  },
});
