// The page is sent with a list of the operations. Swagger UI, which is large, takes the list's place as soon as the
// reader does something, or after a while; it works on this service's own description, with the session's token.
import { pageUrl, root, token } from "./session.js";
import { byId, el, notice, startAnyPage, startPage } from "./ui.js";

const BEARER = "bearer"; // the name of the scheme in the description
const SIGNS = ["pointermove", "pointerdown", "keydown", "touchstart", "wheel", "scroll"]; // of a reader
const WAIT_MS = 3000; // for one who does nothing

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
function mend(place) {
  for (const code of place.querySelectorAll("pre:not([tabindex])")) code.tabIndex = 0; // it may scroll
  for (const text of place.querySelectorAll("textarea:not([aria-label])")) text.ariaLabel = "Body or value to send";
  for (const region of place.querySelectorAll("[role=region]:not([aria-label])")) {
    region.ariaLabel = `${region.classList.contains("live-responses-table") ? "Answer" : "Responses"} of ${region.closest(".opblock")?.id ?? "the operation"}`;
  }
}

/** Put Swagger UI into the list's place: what the reader looked at and had the focus on stays there. */
function takeTheListsPlace(place) {
  const listing = byId("listing");
  const rows = [...listing.querySelectorAll("[data-operation]")];
  const top = (node) => node.getBoundingClientRect().top;
  const focused = rows.find((row) => row === document.activeElement);
  const inSight = [focused, ...rows].find((row) => row !== undefined && top(row) >= 0 && top(row) < window.innerHeight);
  const before = inSight === undefined ? 0 : top(inSight);
  listing.remove();
  place.hidden = false;
  const successor = (row) => byId(row.dataset.operation);
  if (inSight !== undefined && window.scrollY > 0) window.scrollBy({ top: top(successor(inSight)) - before, behavior: "instant" });
  if (focused !== undefined) successor(focused).querySelector(".opblock-summary-control").focus({ preventScroll: true });
}

function startSwagger() {
  const place = byId("swagger-ui");
  new MutationObserver(() => {
    mend(place);
    if (!place.hidden) return;
    if (place.querySelector(".opblock") !== null) takeTheListsPlace(place);
    else if (place.querySelector(".error") !== null) place.hidden = false; // above the list, which stays
  }).observe(place, { childList: true, subtree: true, attributeFilter: ["class"] });
  const swagger = window.SwaggerUIBundle({
    url: new URL("openapi.json", root).href,
    dom_id: "#swagger-ui",
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    validatorUrl: null,
    layout: "PageLayout",
    plugins: [fitting],
    onComplete() {
      if (token() !== null) swagger.preauthorizeApiKey(BEARER, token());
    },
  });
}

/** Add an element that loads something from beside this module. Rejects with what could not be loaded. */
function loaded(element) {
  return new Promise((resolve, reject) => {
    element.addEventListener("load", resolve);
    element.addEventListener("error", () => { element.remove(); reject(element); });
    document.head.prepend(element); // before this service's own styles, which correct it
  });
}

let asked = false;

async function loadSwagger() {
  if (asked) return;
  asked = true;
  byId("listing").ariaBusy = "true";
  const beside = (name) => new URL(name, import.meta.url).href;
  try {
    await Promise.all([
      loaded(el("link", { rel: "stylesheet", href: beside("swagger-ui.css") })),
      loaded(el("script", { src: beside("swagger-ui-bundle.js") })),
    ]);
  } catch (failed) {
    if (!(failed instanceof HTMLElement)) throw failed;
    asked = false;
    byId("listing").ariaBusy = null;
    notice("What is needed to try requests could not be loaded.", { again: loadSwagger });
    return;
  }
  startSwagger();
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
byId("try").addEventListener("click", loadSwagger);
if (location.hash.startsWith("#/")) loadSwagger();
for (const sign of SIGNS) window.addEventListener(sign, loadSwagger, { once: true, passive: true });
if (!navigator.connection?.saveData) setTimeout(loadSwagger, WAIT_MS);
