// The exercises that the student answered incorrectly most often.
import { emptyMessage, numberCell, table } from "./charts.js";
import { topicNames } from "./topic_names.js";
import { count, DIFFICULTY, el, excerpt, percent, timeElement } from "./ui.js";

const SHOWN_OF_TEXT = 80; // characters

function row(item, nameOf) {
  const text = excerpt(item.task_content, SHOWN_OF_TEXT);
  return el("tr", {},
    el("th", { scope: "row", dir: "auto" }, item.item_id === null ? text : `${text} (${item.item_id})`),
    el("td", { dir: "auto" }, nameOf(item)),
    el("td", {}, DIFFICULTY[item.difficulty]),
    numberCell(count(item.attempts)),
    numberCell(percent(item.accuracy)),
    el("td", { className: "sub" }, item.last_completed_at === null ? "–" : timeElement(item.last_completed_at)));
}

/** Return the content of the section for items, the hardest first. Those that were always answered correctly are left out. */
export function items(found) {
  const hard = found.filter((item) => item.accuracy < 1);
  if (hard.length === 0) return [emptyMessage("No exercise was answered incorrectly.")];
  const nameOf = topicNames(hard);
  const names = ["Exercise", "Topic", "Difficulty", "Done", "Correct", "Last practised"];
  return [el("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Table: hardest exercises" }, table("Hardest exercises", names, hard.map((item) => row(item, nameOf))))];
}
