// Register and sign in.
import { ApiError, request } from "./api.js";
import { pageUrl, root, signIn, token } from "./session.js";
import { byId, clearErrors, notice, showErrors, startAnyPage, whileBusy } from "./ui.js";

const PAGES = ["dashboard", "dashboard/tasks", "dashboard/analytics", "dashboard/models"];
const MINIMUM_PASSWORD = 8;
const TAKEN = "Email already registered";

const form = byId("account");
const query = new URLSearchParams(location.search);
let registering = false;

/** Where to go after signing in: only pages of ours, never an address that somebody put into a link. */
function destination() {
  const next = query.get("next");
  return pageUrl(PAGES.includes(next) ? next : "dashboard");
}

function show(register) {
  registering = register;
  clearErrors(form);
  byId("show-sign-in").ariaPressed = String(!register);
  byId("show-register").ariaPressed = String(register);
  for (const part of form.querySelectorAll("[data-for=register]")) part.hidden = !register;
  byId("password").autocomplete = register ? "new-password" : "current-password";
  byId("submit").textContent = register ? "Create account" : "Sign in";
}

function reveal(shown) {
  byId("password").type = shown ? "text" : "password";
  byId("reveal").textContent = shown ? "Hide" : "Show";
}

/** What can be told before asking the server. */
function faultsBefore({ email, password }) {
  const faults = [];
  if (email === "") faults.push({ field: "email", message: "Enter your e-mail address." });
  else if (!/^\S+@\S+$/.test(email)) faults.push({ field: "email", message: "This does not look like an e-mail address." });
  if (password === "") faults.push({ field: "password", message: "Enter your password." });
  else if (registering && password.length < MINIMUM_PASSWORD) faults.push({ field: "password", message: `Use ${MINIMUM_PASSWORD} characters or more.` });
  return faults;
}

function showFailure(error) {
  if (error.message === TAKEN) {
    showErrors(form, "", [{ field: "email", message: "This address has an account already. Sign in with it, or use another one." }]);
  } else showErrors(form, error.message, error.faults);
}

async function submit() {
  const email = byId("email").value.trim();
  const password = byId("password").value;
  const name = byId("full_name").value.trim();
  clearErrors(form);
  const faults = faultsBefore({ email, password });
  if (faults.length > 0) {
    showErrors(form, "", faults);
    return;
  }
  try {
    if (registering) {
      await request("POST", "auth/register", { body: { email, password, full_name: name || null }, session: false });
      show(false); // should signing in fail now, the account is there and the next try must not register again
    }
    const { data } = await request("POST", "auth/login", { body: { email, password }, session: false, safe: true });
    signIn(data.access_token);
    location.assign(destination());
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    showFailure(error);
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  reveal(false); // a browser that offers to keep the password looks for a field of that type
  whileBusy([byId("submit")], submit);
});
byId("show-sign-in").addEventListener("click", () => show(false));
byId("show-register").addEventListener("click", () => show(true));
byId("reveal").addEventListener("click", () => reveal(byId("password").type === "password"));

startAnyPage();
if (token() !== null) location.replace(destination());
else if (query.has("ended")) {
  notice("Sign in to go on. What you typed is kept.", { kind: "info" });
  const clean = new URL("login", root);
  if (query.has("next")) clean.searchParams.set("next", query.get("next"));
  history.replaceState(null, "", clean);
}
