// Tasks whose deletion was sent while a page was being closed. The next page may load its list before the server has
// handled that request, so it hides these tasks for some seconds.
import { draft } from "./session.js";

const HIDDEN_MS = 10_000; // afterwards the task is shown again, because the deletion may have failed

const sent = draft("deletions"); // the time of the request by task id

const recent = () => Object.entries(sent.read() ?? {}).filter(([, time]) => Date.now() - time < HIDDEN_MS);

/** Record that these deletions are being sent. */
export function recordDeletions(ids) {
  sent.write(Object.fromEntries([...recent(), ...ids.map((id) => [id, Date.now()])]));
}

/** Return the tasks that are not being deleted. */
export function withoutDeleted(tasks) {
  const deleted = new Map(recent());
  return tasks.filter(({ id }) => !deleted.has(String(id)));
}
