// The page of a student's figures: by day, by topic, and predicted against actual.
import { calibration } from "./analytics_calibration.js";
import { days } from "./analytics_days.js";
import { topics } from "./analytics_topics.js";
import { request } from "./api.js";
import { figures } from "./figures.js";
import { breathe, byId, el, report, startPage } from "./ui.js";

/** Fill places from the answers to some requests: each of `parts` makes the content of one place from all answers. */
async function fill(parts, ...paths) {
  const places = Object.keys(parts).map(byId);
  for (const place of places) place.ariaBusy = "true";
  try {
    const answers = await Promise.all(paths.map((path) => request("GET", path)));
    for (const [id, make] of Object.entries(parts)) {
      await breathe(); // each part by itself, so that the page answers in between
      byId(id).replaceChildren(...make(...answers.map(({ data }) => data)));
    }
  } catch (error) {
    for (const place of places) place.replaceChildren(el("p", { className: "sub" }, "Could not be loaded."));
    report(error, { again: fillAll });
  } finally {
    for (const place of places) {
      place.ariaBusy = null;
      place.classList.remove("pending");
    }
  }
}

function fillAll() {
  const offset = -new Date().getTimezoneOffset();
  fill({ summary: figures, days: (summary) => days(summary.days) }, `analytics/summary?utc_offset_minutes=${offset}`);
  fill({ topics }, "analytics/topics");
  fill({ calibration }, "analytics/calibration", "analytics/predicted");
}

if (startPage()) fillAll();
