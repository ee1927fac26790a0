// The exercises that the student answered incorrectly most often.
import { emptyMessage, numberCell, table } from "./charts.js";
import { richText } from "./rich_text.js";
import { topicNames } from "./topic_names.js";
import { count, DIFFICULTY, el, excerpt, timeElement } from "./ui.js";

const SHOWN_OF_TEXT = 80; // characters

function row(item, nameOf) {
  const about = [el("bdi", {}, nameOf(item)), `, ${DIFFICULTY[item.difficulty]}`];
  if (item.item_id !== null) about.push(" (", el("bdi", {}, item.item_id), ")");
  return el("tr", {},
    el("th", { scope: "row" }, richText(excerpt(item.task_content, SHOWN_OF_TEXT)), el("span", { className: "about" }, ...about)),
    numberCell(`${count(Math.round(item.accuracy * item.attempts))} of ${count(item.attempts)}`),
    el("td", { className: "sub" }, item.last_completed_at === null ? "–" : timeElement(item.last_completed_at)));
}

/** Return the content of the section for items, the hardest first. Those that were always answered correctly are left out. */
export function items(found) {
  const hard = found.filter((item) => item.accuracy < 1);
  if (hard.length === 0) return [emptyMessage("None of the exercises that you wrote down has been answered incorrectly yet.")];
  const nameOf = topicNames(hard);
  const names = ["Exercise", "Correct", "Last practised"];
  return [el("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: "Table: hardest exercises" }, table("Hardest exercises", names, hard.map((item) => row(item, nameOf))))];
}
