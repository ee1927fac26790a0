// A stopwatch that fills an input with whole seconds. It keeps running over a reload of the page.
import { draft, el } from "./ui.js";

export const MAX_SECONDS = 86_400;

/** The whole seconds in an input, or null when there are none or they are out of range. */
export function secondsIn(input) {
  const text = input.value.trim();
  const seconds = Number(text);
  return /^\d+$/.test(text) && seconds <= MAX_SECONDS ? seconds : null;
}

/**
 * {button, stop, forget} for an input. What was typed or measured is kept under `name` until forget().
 * Time is taken from the clock, not from counting ticks, which browsers slow down on hidden pages.
 */
export function stopwatch(input, name) {
  const kept = draft(`stopwatch:${name}`);
  const button = el("button", { type: "button", className: "watch", attributes: { "aria-keyshortcuts": "s" } });
  let since = null; // Date.now() at which the watch would have shown 0
  let timer = 0;

  const save = () => kept.write({ since, text: input.value });

  function label() {
    let text = "Start the clock";
    if (since !== null) text = "Pause";
    else if (input.value !== "") text = "Go on";
    button.replaceChildren(text, el("kbd", { ariaHidden: "true" }, "S"));
    button.dataset.running = String(since !== null);
  }

  function tick() {
    if (!input.isConnected) { // the task's card was replaced or removed
      clearInterval(timer);
      return;
    }
    input.value = String(Math.min(MAX_SECONDS, Math.floor((Date.now() - since) / 1000)));
  }

  function run(from) {
    since = from;
    timer = setInterval(tick, 250);
    label();
  }

  function stop() {
    clearInterval(timer);
    since = null;
    label();
    save();
  }

  button.addEventListener("click", () => {
    if (since !== null) {
      stop();
      return;
    }
    run(Date.now() - (secondsIn(input) ?? 0) * 1000);
    tick();
    save();
  });
  input.addEventListener("input", () => {
    if (since !== null) stop(); // a corrected time stands: the watch must not overwrite it
    label();
    save();
  });

  const before = kept.read();
  if (before !== null && typeof before.since === "number") run(before.since);
  else if (before !== null) input.value = before.text ?? "";
  label();
  return { button, stop, forget: () => { clearInterval(timer); kept.clear(); } };
}
