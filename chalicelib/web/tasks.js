// The tasks page: the form, the training panel and the list.
import { refreshPreview, startForm, suggest } from "./task_form.js";
import { showCreated, startList } from "./task_list.js";
import { startTrainingPanel } from "./training.js";
import { startPage, yieldToBrowser } from "./ui.js";

function changed(task) {
  refreshPreview();
  if (task !== null) suggest([task]);
}

if (startPage()) {
  startTrainingPanel({ onTrained: refreshPreview });
  const listed = startList({ tasks: suggest, change: changed });
  await yieldToBrowser(); // so that the page is painted before the form starts
  startForm(showCreated);
  await listed;
}
