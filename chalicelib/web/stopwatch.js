// A stopwatch that fills an input with whole seconds. It keeps running when the page is reloaded.
import { draft, el } from "./ui.js";

const MAX_SECONDS = 86_400;
const MAX_GAP_MS = 120_000; // a running page measures at least once a minute, also in a hidden tab
const DOUBTFUL_GAP_MS = 300_000;
const DOUBTFUL_TOTAL_MS = 3_600_000;

/** Return the whole seconds in an input, or null if there are none or they are out of range. */
export function secondsIn(input) {
  const text = input.value.trim();
  const seconds = Number(text);
  return /^\d+$/.test(text) && seconds <= MAX_SECONDS ? seconds : null;
}

/**
 * Return {button, stop, doubt, set, forget} for an input. The time is kept as a draft under `name` until forget().
 *
 * Time is added up between measurements. `performance.now()` cannot be set back, but some systems stop it while they
 * sleep; `Date.now()` goes on then, but jumps when the clock is set. Where either shows a long gap, nobody knows whether
 * the student worked: the gap is counted apart, as time away.
 */
export function stopwatch(input, name) {
  const saved = draft(`stopwatch:${name}`);
  const button = el("button", { type: "button", className: "watch", attributes: { "aria-keyshortcuts": "s", "aria-describedby": input.getAttribute("aria-describedby") } });
  let running = false;
  let measured = false; // false for a time that was typed
  let worked = (secondsIn(input) ?? 0) * 1000;
  let away = 0;
  let steadyBefore = 0;
  let clockBefore = 0;
  let timer = 0;

  const save = () => saved.write({ running, measured, worked, away, at: Date.now(), text: input.value });
  const seconds = (milliseconds) => Math.min(MAX_SECONDS, Math.floor(milliseconds / 1000));

  function updateButton() {
    let text = "Start timer";
    if (running) text = "Pause";
    else if (input.value !== "") text = "Resume";
    button.replaceChildren(text, el("kbd", { ariaHidden: "true" }, "S"));
    button.dataset.running = String(running);
  }

  function measure() {
    const steady = performance.now() - steadyBefore;
    const gap = Math.max(steady, Date.now() - clockBefore);
    if (gap > MAX_GAP_MS) away += gap;
    else worked += steady;
    steadyBefore += steady;
    clockBefore = Date.now();
    input.value = String(seconds(worked + away));
    save();
  }

  function tick() {
    if (input.isConnected) measure();
    else clearInterval(timer); // the card of the task was replaced or removed
  }

  /** Start to measure, as if the last measurement was `past` milliseconds ago. */
  function run(past) {
    running = true;
    measured = true;
    steadyBefore = performance.now() - past;
    clockBefore = Date.now() - past;
    timer = setInterval(tick, 250);
    measure();
    updateButton();
  }

  function stop() {
    if (running) measure();
    clearInterval(timer);
    running = false;
    updateButton();
    save();
  }

  /** Take a time that the student gave. */
  function take() {
    clearInterval(timer);
    running = false;
    measured = false;
    worked = (secondsIn(input) ?? 0) * 1000;
    away = 0;
    updateButton();
    save();
  }

  /** Return {total, worked} in seconds if the student should say which is right; null for an ordinary time. */
  function doubt() {
    if (!measured || (away < DOUBTFUL_GAP_MS && worked + away < DOUBTFUL_TOTAL_MS)) return null;
    return { total: seconds(worked + away), worked: seconds(worked) };
  }

  button.addEventListener("click", () => (running ? stop() : run(0)));
  input.addEventListener("input", take); // a running stopwatch would overwrite the corrected time

  const before = saved.read();
  if (before !== null) {
    input.value = before.text ?? "";
    ({ measured = false, worked = (secondsIn(input) ?? 0) * 1000, away = 0 } = before);
    if (before.running) run(Math.max(0, Date.now() - before.at)); // the clock may have been set back
  }
  updateButton();
  const set = (value) => {
    input.value = String(value);
    take();
  };
  return { button, stop, doubt, set, forget: () => { clearInterval(timer); saved.clear(); } };
}
