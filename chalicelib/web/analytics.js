// The analytics page: the student's results by day and by topic, and predicted against actual results.
import { calibration } from "./analytics_calibration.js";
import { days } from "./analytics_days.js";
import { items } from "./analytics_items.js";
import { topics } from "./analytics_topics.js";
import { loadSummary, summaryFigures } from "./figures.js";
import { fillSections } from "./sections.js";
import { startPage } from "./ui.js";

function fillAll() {
  const retry = fillAll; // there is one notice for all failures, so its button loads everything again
  fillSections({ summary: summaryFigures, days: (summary) => days(summary.days) }, [loadSummary], { retry });
  fillSections({ topics }, ["analytics/topics"], { retry });
  fillSections({ items }, ["analytics/items?limit=10"], { retry });
  fillSections({ calibration }, ["analytics/calibration", "analytics/predicted"], { retry });
}

if (startPage()) fillAll();
