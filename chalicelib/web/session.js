// The session: the access token, its owner and lifetime, and the drafts that this browser keeps for the owner.

// Modules are served from <prefix>/static/<version>/, so the root includes the stage prefix of API Gateway.
export const root = new URL("../../", import.meta.url);

const TOKEN_KEY = `studysmart:${root.pathname}:token`;
const EXPIRY_KEY = `studysmart:${root.pathname}:ends`;
const DRAFTS = "studysmart:draft:";

let ended = false; // true once a session has ended while this page was open

export function pageUrl(path) {
  return new URL(path, root).href;
}

/** Return the claims of a JWT, or {} if it cannot be parsed. The signature is not checked: only the server can. */
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

/** Return the access token, or null if there is none or it has expired. */
export function token() {
  if (Number(localStorage.getItem(EXPIRY_KEY) ?? Infinity) <= Date.now()) forgetToken();
  return localStorage.getItem(TOKEN_KEY);
}

/** Return the user's id, which names their data in this browser; "" if nobody is signed in. */
function userKey() {
  const value = token();
  return value === null ? "" : String(claimsOf(value).sub ?? "unknown");
}

/** Return whether the token names its owner an admin. This decides what is shown; the server checks each request. */
export function isAdmin() {
  const value = token();
  return value !== null && [claimsOf(value)["cognito:groups"]].flat().includes("admins");
}

function forgetToken() {
  ended ||= localStorage.getItem(TOKEN_KEY) !== null;
  localStorage.removeItem(TOKEN_KEY);
  localStorage.removeItem(EXPIRY_KEY);
}

/** Store a new token. Its expiry is computed with this computer's clock, which may differ from the server's. */
export function signIn(accessToken) {
  const { iat, exp } = claimsOf(accessToken);
  localStorage.removeItem(EXPIRY_KEY);
  if (typeof iat === "number" && typeof exp === "number") localStorage.setItem(EXPIRY_KEY, String(Date.now() + (exp - iat) * 1000));
  localStorage.setItem(TOKEN_KEY, accessToken);
}

/** Sign out: remove the token and all drafts. */
export function signOut() {
  forgetToken();
  for (const name of Object.keys(sessionStorage)) if (name.startsWith(DRAFTS)) sessionStorage.removeItem(name);
  location.assign(pageUrl("login"));
}

/** Go to the sign-in page, which leads back to this page and its drafts. */
export function endSession() {
  forgetToken();
  const login = new URL("login", root);
  if (location.pathname !== login.pathname) {
    if (ended) login.searchParams.set("ended", "1");
    login.searchParams.set("next", location.pathname.slice(root.pathname.length));
  }
  location.assign(login.href);
}

/** Return whether somebody is signed in, and leave for the sign-in page if not. Signing out applies to all tabs. */
export function requireSession() {
  if (token() === null) {
    endSession();
    return false;
  }
  window.addEventListener("storage", (event) => {
    if (event.key !== TOKEN_KEY || event.newValue !== null) return;
    ended = true;
    endSession();
  });
  return true;
}

/** Return access to a value that this tab keeps for the user. It survives a reload and an expired session. */
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
        // The storage is full or disabled. The page still works, but a reload loses the draft.
        if (!(error instanceof DOMException)) throw error;
        console.info(`the draft could not be stored: ${error.message}`);
      }
    },
    clear: () => sessionStorage.removeItem(key),
  };
}
