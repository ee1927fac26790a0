// Sections of a page that are filled from responses of the API.
import { request } from "./api.js";
import { byId, el, report, yieldToBrowser } from "./ui.js";

const failed = new Map(); // what could not be loaded, by its sections: the page has one notice for all of it

function retry() {
  const loads = [...failed.values()];
  failed.clear();
  for (const load of loads) load();
}

/**
 * Load the paths and fill sections from their data. A function in the place of a path loads by itself. `parts` maps the id of a section to a function that returns its
 * content from the data of all paths.
 *
 * A failure is shown as a notice, whose button loads again all that failed. `onError(error)` returns whether it has
 * handled the error.
 */
export async function fillSections(parts, paths, { onError = () => false } = {}) {
  const key = Object.keys(parts).join();
  const sections = Object.keys(parts).map(byId);
  for (const section of sections) section.ariaBusy = "true";
  failed.delete(key);
  try {
    const responses = await Promise.all(paths.map((path) => (typeof path === "function" ? path() : request("GET", path))));
    for (const [id, content] of Object.entries(parts)) {
      await yieldToBrowser(); // each section is a short task of its own
      byId(id).replaceChildren(...content(...responses.map(({ data }) => data)));
    }
  } catch (error) {
    if (onError(error)) return;
    for (const section of sections) {
      section.replaceChildren();
      // A card with two sections says it once.
      if (!section.closest(".card")?.querySelector(".failed")) section.append(el("p", { className: "sub failed" }, "Could not be loaded."));
    }
    failed.set(key, () => fillSections(parts, paths, { onError }));
    report(error, { retry });
  } finally {
    for (const section of sections) {
      section.ariaBusy = null;
      section.classList.remove("pending");
    }
  }
}
