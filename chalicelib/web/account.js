// The account page: name, address, password, sessions, time zone, export, deletion.
import { ApiError, request } from "./api.js";
import { browserZone, chooseZone, chosenZone, formatter, zone } from "./days.js";
import { startExport } from "./export.js";
import { preference, signIn, signOut } from "./session.js";
import { byId, clearErrors, draft, el, MIN_PASSWORD_LENGTH, report, showErrors, showName, startPage, startReveal, whileBusy, yieldToBrowser } from "./ui.js";

/**
 * Send a form with `send(values)`, which returns the message to show. `required` maps names of fields to the message
 * if they are empty. `check(values)` returns further errors.
 */
function startForm(form, { required = {}, check = () => [], send }) {
  const button = form.querySelector("[type=submit]");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(form));
    clearErrors(form);
    showDone(form, "");
    const empty = Object.entries(required).filter(([field]) => values[field].trim() === "");
    const errors = [...empty.map(([field, message]) => ({ field, message })), ...(empty.length > 0 ? [] : check(values))];
    if (errors.length > 0) showErrors(form, "", errors);
    else whileBusy([button], () => sending(form, async () => showDone(form, await send(values))));
  });
}

function showDone(form, text) {
  const line = form.querySelector(".form-done");
  if (line !== null) line.textContent = text;
}

/** Run an action of a form, and show its failure there. */
async function sending(form, action) {
  try {
    await action();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    showErrors(form, error.message, error.fieldErrors);
  }
}

// ---- name and address ----------------------------------------------------------------------------------------

function showAddress({ email, email_verified: verified }) {
  byId("email").textContent = email ?? "";
  byId("email-state").textContent = verified ? "Verified" : "Not verified";
  byId("email-state").dataset.verified = String(verified);
  byId("code-form").hidden = verified;
  for (const id of ["username", "deletion-username"]) byId(id).value = email ?? "";
}

function startName() {
  const typed = draft("account-name");
  const input = byId("full_name");
  if (input.value !== "") typed.write(input.value); // typed before this script was loaded
  input.addEventListener("input", () => typed.write(input.value));
  startForm(byId("name-form"), {
    async send({ full_name: name }) {
      const { data } = await request("PUT", "auth/me", { body: { full_name: name.trim() || null } });
      typed.clear();
      showName(data);
      return "Name saved.";
    },
  });
  return ({ full_name: name }) => { input.value = typed.read() ?? name ?? ""; };
}

function startAddress() {
  const form = byId("code-form");
  startForm(form, {
    required: { code: "Enter the code from the email." },
    async send({ code }) {
      await request("POST", "auth/verify-email", { body: { code: code.trim() } });
      showAddress({ email: byId("email").textContent, email_verified: true });
      byId("address").focus(); // the form that had the focus is hidden
      return "";
    },
  });
  byId("send-code").addEventListener("click", () => whileBusy([byId("send-code")], () => sending(form, async () => {
    clearErrors(form);
    showDone(form, "");
    await request("POST", "auth/send-verification");
    showDone(form, "A code has been sent. It may take a minute to arrive.");
    byId("code").focus();
  })));
}

async function loadProfile(showTypedName) {
  try {
    const { data } = await request("GET", "auth/me");
    showTypedName(data);
    showAddress(data);
  } catch (error) {
    report(error, { retry: () => loadProfile(showTypedName) });
  } finally {
    byId("profile").ariaBusy = null;
  }
}

// ---- password, sessions, deletion ----------------------------------------------------------------------------

function startPassword() {
  const form = byId("password-form");
  const hidePassword = startReveal(byId("reveal"));
  startForm(form, {
    required: { current_password: "Enter your current password.", new_password: "Enter a new password." },
    check: ({ new_password: password }) => (password.length < MIN_PASSWORD_LENGTH ? [{ field: "new_password", message: `Use at least ${MIN_PASSWORD_LENGTH} characters.` }] : []),
    async send({ current_password, new_password }) {
      hidePassword(); // a browser offers to save the password only from a field of type password
      const { data } = await request("POST", "auth/change-password", { body: { current_password, new_password } });
      signIn(data);
      for (const id of ["current_password", "new_password"]) byId(id).value = "";
      return "Password changed. You are signed out on all other devices within a minute.";
    },
  });
}

function startSessions() {
  const button = byId("everywhere");
  const run = () => whileBusy([button], async () => {
    try {
      await request("POST", "auth/sign-out-everywhere");
      signOut("everywhere");
    } catch (error) {
      report(error, { retry: run });
    }
  });
  button.addEventListener("click", run);
}

function startDeletion() {
  startForm(byId("deletion-form"), {
    required: { password: "Enter your password." },
    async send({ password }) {
      await request("POST", "auth/delete-account", { body: { password } });
      for (const name of ["zone", "goal", "outbox"]) preference(name).clear();
      signOut("deleted");
    },
  });
}

// ---- time zone -----------------------------------------------------------------------------------------------

function showTimeInZone() {
  const time = formatter({ weekday: "long", hour: "2-digit", minute: "2-digit", timeZone: zone() }).format(new Date());
  byId("zone-now").textContent = `Now it is ${time} there. Your charts and times follow this zone, in this browser.`;
}

async function startZone() {
  const select = byId("zone");
  const option = (value, text) => el("option", { value, selected: value === chosenZone() }, text);
  select.append(option("", `${browserZone()} (as this browser)`));
  select.addEventListener("change", () => { chooseZone(select.value); showTimeInZone(); });
  showTimeInZone();
  await yieldToBrowser(); // the list is long
  const names = new Set([...Intl.supportedValuesOf("timeZone"), "UTC", chosenZone()].filter((name) => name !== ""));
  select.append(...[...names].sort().map((name) => option(name, name.replaceAll("_", " "))));
}

if (startPage()) {
  startAddress();
  startPassword();
  startSessions();
  startExport(byId("export"));
  startDeletion();
  startZone();
  loadProfile(startName());
}
