// The page to sign in or create an account.
import { ApiError, request } from "./api.js";
import { pageUrl, root, signIn, token } from "./session.js";
import { byId, clearErrors, notice, showErrors, startAnyPage, whileBusy } from "./ui.js";

const PAGES = ["dashboard", "dashboard/tasks", "dashboard/analytics", "dashboard/models"];
const MIN_PASSWORD_LENGTH = 8;
const EMAIL_TAKEN = "Email already registered"; // the API's message

const form = byId("account");
const query = new URLSearchParams(location.search);
let registering = false;

/** Return the page to open after signing in. Only known pages are accepted, so a link cannot lead to another site. */
function destination() {
  const next = query.get("next");
  return pageUrl(PAGES.includes(next) ? next : "dashboard");
}

function showForm(register) {
  registering = register;
  clearErrors(form);
  byId("show-sign-in").ariaPressed = String(!register);
  byId("show-register").ariaPressed = String(register);
  for (const part of form.querySelectorAll("[data-for=register]")) part.hidden = !register;
  byId("password").autocomplete = register ? "new-password" : "current-password";
  byId("submit").textContent = register ? "Create account" : "Sign in";
}

function showPassword(visible) {
  byId("password").type = visible ? "text" : "password";
  byId("reveal").textContent = visible ? "Hide" : "Show";
}

/** Return the errors that can be found without asking the server. */
function validate({ email, password }) {
  const errors = [];
  if (email === "") errors.push({ field: "email", message: "Enter your email address." });
  else if (!/^\S+@\S+$/.test(email)) errors.push({ field: "email", message: "This is not a valid email address." });
  if (password === "") errors.push({ field: "password", message: "Enter your password." });
  else if (registering && password.length < MIN_PASSWORD_LENGTH) errors.push({ field: "password", message: `Use at least ${MIN_PASSWORD_LENGTH} characters.` });
  return errors;
}

function showFailure(error) {
  if (error.message === EMAIL_TAKEN) {
    showErrors(form, "", [{ field: "email", message: "This address already has an account. Sign in, or use another address." }]);
  } else showErrors(form, error.message, error.fieldErrors);
}

async function submit() {
  const email = byId("email").value.trim();
  const password = byId("password").value;
  const name = byId("full_name").value.trim();
  clearErrors(form);
  const errors = validate({ email, password });
  if (errors.length > 0) {
    showErrors(form, "", errors);
    return;
  }
  try {
    if (registering) {
      await request("POST", "auth/register", { body: { email, password, full_name: name || null }, session: false });
      showForm(false); // the account exists: if signing in fails now, the next attempt must not register again
    }
    const { data } = await request("POST", "auth/login", { body: { email, password }, session: false, retry: true });
    signIn(data.access_token);
    location.assign(destination());
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    showFailure(error);
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  showPassword(false); // a browser offers to save the password only from a field of type password
  whileBusy([byId("submit")], submit);
});
byId("show-sign-in").addEventListener("click", () => showForm(false));
byId("show-register").addEventListener("click", () => showForm(true));
byId("reveal").addEventListener("click", () => showPassword(byId("password").type === "password"));

startAnyPage();
if (token() !== null) location.replace(destination());
else if (query.has("ended")) {
  notice("Your session has ended. Sign in again to pick up where you left off.", { kind: "info" });
  const clean = new URL("login", root); // a reload does not repeat the message
  if (query.has("next")) clean.searchParams.set("next", query.get("next"));
  history.replaceState(null, "", clean);
} else if (query.has("next")) notice("Sign in to see this page.", { kind: "info" });
