// Sections of a page that are filled from responses of the API.
import { request } from "./api.js";
import { byId, el, report, yieldToBrowser } from "./ui.js";

/**
 * Load the paths and fill sections from their data. A function in the place of a path loads by itself. `parts` maps the id of a section to a function that returns its
 * content from the data of all paths.
 *
 * Options: `retry` is called by the button of the error notice, and by default repeats this call. `onError(error)`
 * returns whether it has handled the error.
 */
export async function fillSections(parts, paths, options = {}) {
  const { retry = () => fillSections(parts, paths, options), onError = () => false } = options;
  const sections = Object.keys(parts).map(byId);
  for (const section of sections) section.ariaBusy = "true";
  try {
    const responses = await Promise.all(paths.map((path) => (typeof path === "function" ? path() : request("GET", path))));
    for (const [id, content] of Object.entries(parts)) {
      await yieldToBrowser(); // each section is a short task of its own
      byId(id).replaceChildren(...content(...responses.map(({ data }) => data)));
    }
  } catch (error) {
    if (onError(error)) return;
    for (const section of sections) section.replaceChildren(el("p", { className: "sub" }, "Could not be loaded."));
    report(error, { retry });
  } finally {
    for (const section of sections) {
      section.ariaBusy = null;
      section.classList.remove("pending");
    }
  }
}
