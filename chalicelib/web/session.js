// The session: its tokens, their owner and lifetime, and the drafts that this browser keeps for the owner.
// The tokens are in localStorage, which all tabs share. Decision 33 says why.

// Modules are served from <prefix>/static/<version>/, so the root includes the stage prefix of API Gateway.
export const root = new URL("../../", import.meta.url);

const TOKEN_KEY = `studysmart:${root.pathname}:token`;
const EXPIRY_KEY = `studysmart:${root.pathname}:ends`;
const REFRESH_KEY = `studysmart:${root.pathname}:refresh`;
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

/** Return whether the access token has expired. A refresh token can replace it. */
export const tokenExpired = () => Number(localStorage.getItem(EXPIRY_KEY) ?? Infinity) <= Date.now();

/** Return the refresh token, or null if there is none. */
export const refreshToken = () => localStorage.getItem(REFRESH_KEY);

/** Return the access token, or null if nobody is signed in. It may have expired if there is a refresh token. */
export function token() {
  if (tokenExpired() && refreshToken() === null) forgetTokens();
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
  return value !== null && [claimsOf(value)["cognito:groups"]].flat().some((group) => ["admins", "cohort-admins"].includes(group));
}

function forgetTokens() {
  ended ||= localStorage.getItem(TOKEN_KEY) !== null;
  for (const key of [TOKEN_KEY, EXPIRY_KEY, REFRESH_KEY]) localStorage.removeItem(key);
}

/** Store new tokens. The expiry is computed with this computer's clock, which may differ from the server's. */
export function signIn({ access_token: accessToken, refresh_token: newRefreshToken }) {
  const { iat, exp } = claimsOf(accessToken);
  localStorage.setItem(REFRESH_KEY, newRefreshToken);
  localStorage.removeItem(EXPIRY_KEY);
  if (typeof iat === "number" && typeof exp === "number") localStorage.setItem(EXPIRY_KEY, String(Date.now() + (exp - iat) * 1000));
  localStorage.setItem(TOKEN_KEY, accessToken);
}

/** Sign out: remove the tokens, all drafts, and the tasks that were kept for practice without a network. The sign-in page shows its message for the key `done`. */
export function signOut(done = "") {
  preference("choices").clear();
  forgetTokens();
  for (const name of Object.keys(sessionStorage)) if (name.startsWith(DRAFTS)) sessionStorage.removeItem(name);
  location.assign(pageUrl(done === "" ? "login" : `login?${new URLSearchParams({ done })}`));
}

/** Go to the sign-in page, which leads back to this page and its drafts. */
export function endSession() {
  forgetTokens();
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
  // Going back may show this page as it was left, while the user has signed out or another one has signed in.
  const owner = userKey();
  window.addEventListener("pageshow", ({ persisted }) => {
    if (!persisted || userKey() === owner) return;
    if (token() === null) endSession();
    else location.reload();
  });
  return true;
}

/** Return access to a value that this tab keeps for the user. It survives a reload and an expired session. */
export const draft = (name) => stored(sessionStorage, `${DRAFTS}${userKey()}:${name}`);

/** Return access to a value that this browser keeps for the user, also after signing out. */
export const preference = (name) => stored(localStorage, `studysmart:${root.pathname}:${name}:${userKey()}`);

function stored(storage, key) {
  return {
    read() {
      try {
        return JSON.parse(storage.getItem(key) ?? "null");
      } catch (error) {
        if (error instanceof SyntaxError) return null;
        throw error;
      }
    },
    write(value) {
      try {
        storage.setItem(key, JSON.stringify(value));
      } catch (error) {
        // The storage is full or disabled. The page still works, but a reload loses the value.
        if (!(error instanceof DOMException)) throw error;
        console.info(`a value could not be stored: ${error.message}`);
      }
    },
    clear: () => storage.removeItem(key),
  };
}
