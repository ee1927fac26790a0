// A stopwatch that fills an input with whole seconds. It keeps running when the page is reloaded.
import { draft, el } from "./ui.js";

const MAX_SECONDS = 86_400;

/** Return the whole seconds in an input, or null if there are none or they are out of range. */
export function secondsIn(input) {
  const text = input.value.trim();
  const seconds = Number(text);
  return /^\d+$/.test(text) && seconds <= MAX_SECONDS ? seconds : null;
}

/**
 * Return {button, stop, forget} for an input. The time is kept as a draft under `name` until forget() is called.
 * Elapsed time comes from the clock and not from counting ticks, which browsers slow down in hidden tabs.
 */
export function stopwatch(input, name) {
  const saved = draft(`stopwatch:${name}`);
  const button = el("button", { type: "button", className: "watch", attributes: { "aria-keyshortcuts": "s" } });
  let startedAt = null; // in milliseconds since the epoch; null while the stopwatch does not run
  let timer = 0;

  const save = () => saved.write({ since: startedAt, text: input.value });

  function updateButton() {
    let text = "Start timer";
    if (startedAt !== null) text = "Pause";
    else if (input.value !== "") text = "Resume";
    button.replaceChildren(text, el("kbd", { ariaHidden: "true" }, "S"));
    button.dataset.running = String(startedAt !== null);
  }

  function tick() {
    if (!input.isConnected) { // the card of the task was replaced or removed
      clearInterval(timer);
      return;
    }
    input.value = String(Math.min(MAX_SECONDS, Math.floor((Date.now() - startedAt) / 1000)));
  }

  function run(from) {
    startedAt = from;
    timer = setInterval(tick, 250);
    updateButton();
  }

  function stop() {
    clearInterval(timer);
    startedAt = null;
    updateButton();
    save();
  }

  button.addEventListener("click", () => {
    if (startedAt !== null) {
      stop();
      return;
    }
    run(Date.now() - (secondsIn(input) ?? 0) * 1000);
    tick();
    save();
  });
  input.addEventListener("input", () => {
    if (startedAt !== null) stop(); // otherwise the next tick would overwrite the corrected time
    updateButton();
    save();
  });

  const before = saved.read();
  if (typeof before?.since === "number") run(before.since);
  else if (before !== null) input.value = before.text ?? "";
  updateButton();
  return { button, stop, forget: () => { clearInterval(timer); saved.clear(); } };
}
