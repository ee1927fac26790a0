// Tasks whose deletion was sent as the page was left: the next page may ask for the list before the server has it.
import { draft } from "./session.js";

const HIDDEN_MS = 10_000; // after that the server decides: the deletion may have failed

const left = draft("deletions"); // the moment by task id

const recent = () => Object.entries(left.read() ?? {}).filter(([, moment]) => Date.now() - moment < HIDDEN_MS);

/** Note that deletions are being sent by a page that goes away. */
export function noteDeletions(ids) {
  left.write(Object.fromEntries([...recent(), ...ids.map((id) => [id, Date.now()])]));
}

/** Those of the tasks that are not being deleted. */
export function withoutDeleted(tasks) {
  const deleted = new Map(recent());
  return tasks.filter(({ id }) => !deleted.has(String(id)));
}
