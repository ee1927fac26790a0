// The session: the token, whose it is, how long it lasts, and what is kept in the browser for its owner.

// Modules are served from <prefix>/static/<version>/, so the root holds whatever stage prefix there is.
export const root = new URL("../../", import.meta.url);

const TOKEN_KEY = `studysmart:${root.pathname}:token`;
const ENDS_KEY = `studysmart:${root.pathname}:ends`;
const DRAFTS = "studysmart:draft:";

export function pageUrl(path) {
  return new URL(path, root).href;
}

/** The claims of a JWT, or {} when the token is not one; only the server can tell whether they are true. */
function claimsOf(token) {
  try {
    const part = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(part), (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError || error instanceof DOMException) return {};
    throw error;
  }
}

/** The access token, or null when there is none or its time is over. */
export function token() {
  if (Number(localStorage.getItem(ENDS_KEY) ?? Infinity) <= Date.now()) forget();
  return localStorage.getItem(TOKEN_KEY);
}

/** Who is signed in, as a key for what is kept in the browser; "" for nobody. */
export function userKey() {
  const value = token();
  return value === null ? "" : String(claimsOf(value).sub ?? "unknown");
}

/** Whether the token says that its owner is an admin: decides what is offered; the server decides what is done. */
export function isAdmin() {
  const value = token();
  return value !== null && [claimsOf(value)["cognito:groups"]].flat().includes("admins");
}

function forget() {
  localStorage.removeItem(TOKEN_KEY);
  localStorage.removeItem(ENDS_KEY);
}

/** Keep a new token for its lifetime, measured by this clock: it may differ from the server's. */
export function signIn(accessToken) {
  const { iat, exp } = claimsOf(accessToken);
  localStorage.removeItem(ENDS_KEY);
  if (typeof iat === "number" && typeof exp === "number") localStorage.setItem(ENDS_KEY, String(Date.now() + (exp - iat) * 1000));
  localStorage.setItem(TOKEN_KEY, accessToken);
}

/** Sign out: forget the token and what was typed. */
export function signOut() {
  forget();
  for (const name of Object.keys(sessionStorage)) if (name.startsWith(DRAFTS)) sessionStorage.removeItem(name);
  location.assign(pageUrl("login"));
}

/** The token is of no use any more: go to the sign-in page, which leads back to this page and what was typed. */
export function endSession() {
  forget();
  const login = new URL("login", root);
  if (location.pathname !== login.pathname) {
    login.searchParams.set("ended", "1");
    login.searchParams.set("next", location.pathname.slice(root.pathname.length));
  }
  location.assign(login.href);
}

/** Leave for the sign-in page when nobody is signed in. Signing out in one tab signs out all of them. */
export function requireSession() {
  if (token() === null) {
    endSession();
    return false;
  }
  window.addEventListener("storage", (event) => {
    if (event.key === TOKEN_KEY && event.newValue === null) endSession();
  });
  return true;
}

/** What was typed, kept in this tab for this user until it is sent: survives a reload and an ended session. */
export function draft(name) {
  const key = `${DRAFTS}${userKey()}:${name}`;
  return {
    read() {
      try {
        return JSON.parse(sessionStorage.getItem(key) ?? "null");
      } catch (error) {
        if (error instanceof SyntaxError) return null;
        throw error;
      }
    },
    write(value) {
      try {
        sessionStorage.setItem(key, JSON.stringify(value));
      } catch (error) {
        // The browser's storage is full, or switched off: the page works on, only a reload would forget.
        if (!(error instanceof DOMException)) throw error;
        console.info(`not kept over a reload: ${error.message}`);
      }
    },
    clear: () => sessionStorage.removeItem(key),
  };
}
