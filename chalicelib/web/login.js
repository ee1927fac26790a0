// The page to sign in, to create an account, or to set a new password with a code that comes by e-mail.
import { ApiError, request } from "./api.js";
import { pageUrl, root, signIn, token } from "./session.js";
import { byId, clearErrors, MIN_PASSWORD_LENGTH, notice, showErrors, startAnyPage, startReveal, whileBusy } from "./ui.js";

const PAGES = ["dashboard", "dashboard/practice", "dashboard/tasks", "dashboard/analytics", "dashboard/models", "dashboard/account"];
const EMAIL_TAKEN = "Email already registered"; // the API's message
const DONE = { everywhere: "You are signed out on this device. Other devices are signed out within a minute.", deleted: "Your account and its data have been deleted." };

const form = byId("account");
const hidePassword = startReveal(byId("reveal"));
const query = new URLSearchParams(location.search);
let mode = "sign-in"; // the key of MODES that the form is in

/** What the form does: the text of its button, and the function that sends it. */
const MODES = {
  "sign-in": { button: "Sign in", send: login },
  register: { button: "Create account", send: register },
  forgot: { button: "Send the code", send: requestCode },
  reset: { button: "Set the new password", send: reset },
};

/** Return the page to open after signing in. Only known pages are accepted, so a link cannot lead to another site. */
function destination() {
  const next = query.get("next");
  return pageUrl(PAGES.includes(next) ? next : "dashboard");
}

function showForm(next) {
  mode = next;
  clearErrors(form);
  byId("show-sign-in").ariaPressed = String(mode === "sign-in");
  byId("show-register").ariaPressed = String(mode === "register");
  for (const part of form.querySelectorAll("[data-for]")) part.hidden = !part.dataset.for.split(" ").includes(mode);
  byId("password").autocomplete = mode === "sign-in" ? "current-password" : "new-password";
  byId("submit").textContent = MODES[mode].button;
}

/** Return the errors that can be found without asking the server. Only fields that the form shows are checked. */
function validate({ email, code, password }) {
  const errors = [];
  if (email === "") errors.push({ field: "email", message: "Enter your email address." });
  else if (!/^\S+@\S+$/.test(email)) errors.push({ field: "email", message: "This is not a valid email address." });
  if (mode === "reset" && code === "") errors.push({ field: "code", message: "Enter the code from the email." });
  if (mode === "forgot") return errors;
  if (password === "") errors.push({ field: "password", message: "Enter your password." });
  else if (mode !== "sign-in" && password.length < MIN_PASSWORD_LENGTH) errors.push({ field: "password", message: `Use at least ${MIN_PASSWORD_LENGTH} characters.` });
  return errors;
}

function showFailure(error) {
  if (error.message === EMAIL_TAKEN) {
    showErrors(form, "", [{ field: "email", message: "This address already has an account. Sign in, or use another address." }]);
  } else showErrors(form, error.message, error.fieldErrors.map((each) => (each.field === "new_password" ? { ...each, field: "password" } : each)));
}

// ---- sending the form ----------------------------------------------------------------------------------------

async function login({ email, password }) {
  const { data } = await request("POST", "auth/login", { body: { email, password }, session: false, retry: true });
  signIn(data);
  location.assign(destination());
}

async function register({ email, password, full_name, invitation_code }) {
  const body = { email, password, full_name: full_name || null, invitation_code: invitation_code || null };
  await request("POST", "auth/register", { body, session: false });
  showForm("sign-in"); // the account exists: if signing in fails now, the next attempt must not register again
  await login({ email, password });
}

async function requestCode({ email }) {
  await request("POST", "auth/forgot-password", { body: { email }, session: false });
  showForm("reset");
  byId("code").value = "";
  byId("password").value = "";
  notice(`If ${email} has an account, a code has been sent to it. It may take a minute to arrive.`, { kind: "info" });
  byId("code").focus();
}

async function reset({ email, code, password }) {
  await request("POST", "auth/reset-password", { body: { email, code, new_password: password }, session: false });
  showForm("sign-in"); // a code is valid once
  await login({ email, password });
}

async function submit() {
  const values = Object.fromEntries(["email", "full_name", "code", "invitation_code"].map((id) => [id, byId(id).value.trim()]));
  values.password = byId("password").value;
  clearErrors(form);
  const errors = validate(values);
  if (errors.length > 0) {
    showErrors(form, "", errors);
    return;
  }
  try {
    await MODES[mode].send(values);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    showFailure(error);
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  hidePassword(); // a browser offers to save the password only from a field of type password
  whileBusy([byId("submit")], submit);
});
for (const [id, next] of Object.entries({ "show-sign-in": "sign-in", "show-register": "register", "show-forgot": "forgot", "show-forgot-again": "forgot", "show-reset": "reset" })) {
  byId(id).addEventListener("click", () => showForm(next));
}

startAnyPage();
if (query.has("invitation")) {
  showForm("register");
  byId("invitation_code").value = query.get("invitation");
}
if (token() !== null) location.replace(destination());
else if (query.has("ended") || query.has("done")) {
  const done = Object.hasOwn(DONE, query.get("done")) ? DONE[query.get("done")] : "";
  notice(done || "Your session has ended. Sign in again to pick up where you left off.", { kind: "info" });
  const clean = new URL("login", root); // a reload does not repeat the message
  if (query.has("next")) clean.searchParams.set("next", query.get("next"));
  history.replaceState(null, "", clean);
} else if (query.has("next")) notice("Sign in to see this page.", { kind: "info" });
