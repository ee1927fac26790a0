// The button that saves the student's answers as a file, which `studysmart import` reads.
import { request } from "./api.js";
import { el, report, whileBusy } from "./ui.js";

const NAME = "answers.csv";

/** Load all pages of the export, which are one file together, and let the browser save it. */
async function save() {
  const pages = [];
  let path = "export";
  while (path !== null) {
    const { data, next } = await request("GET", path, { accept: "text/csv" });
    pages.push(data);
    path = next;
  }
  const url = URL.createObjectURL(new Blob(pages, { type: "text/csv" }));
  el("a", { href: url, download: NAME }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser may read it a moment later
}

/** Start the button. A click while it works does nothing. */
export function startExport(button) {
  const run = () => whileBusy([button], async () => {
    try {
      await save();
    } catch (error) {
      report(error, { retry: run });
    }
  });
  button.addEventListener("click", run);
}
