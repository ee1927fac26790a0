// The analytics page: the student's results by day and by topic, and predicted against actual results.
import { calibration } from "./analytics_calibration.js";
import { days } from "./analytics_days.js";
import { items } from "./analytics_items.js";
import { topics } from "./analytics_topics.js";
import { loadSummary, summaryFigures } from "./figures.js";
import { fillSections } from "./sections.js";
import { startPage } from "./ui.js";

if (startPage()) {
  fillSections({ summary: summaryFigures, days: (summary) => days(summary.days) }, [loadSummary]);
  fillSections({ topics }, ["analytics/topics"]);
  fillSections({ items }, ["analytics/items?limit=10"]);
  fillSections({ calibration }, ["analytics/calibration", "analytics/predicted"]);
}
