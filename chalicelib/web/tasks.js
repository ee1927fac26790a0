// The page of tasks: the form, the training panel and the list.
import { refreshPreview, startForm, suggest } from "./task_form.js";
import { showCreated, startList } from "./task_list.js";
import { startTrainingPanel } from "./training.js";
import { breathe, startPage } from "./ui.js";

function changed(task) {
  refreshPreview();
  if (task !== null) suggest([task]);
}

if (startPage()) {
  startTrainingPanel({ trained: refreshPreview });
  const listed = startList({ tasks: suggest, change: changed });
  await breathe(); // the reader sees the page before the form is made alive
  startForm(showCreated);
  await listed;
}
