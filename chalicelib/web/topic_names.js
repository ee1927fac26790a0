// The names of topics in a list: with the subject where two subjects have a topic of the same name.

const folded = (name) => name.trim().toLowerCase();

/** Return a function that names a row of `rows`, each with a subject and a topic. */
export function topicNames(rows) {
  const subjects = new Map(); // by topic
  for (const { subject, topic } of rows) {
    const known = subjects.get(folded(topic)) ?? new Set();
    subjects.set(folded(topic), known.add(folded(subject)));
  }
  return ({ subject, topic }) => (subjects.get(folded(topic))?.size > 1 ? `${topic} (${subject})` : topic);
}
