// The service worker: it keeps the pages' shell in this browser, so that practice begins and goes on without a network.
// It never touches requests to the API, and what it keeps is the same for every user.
const CACHE = "studysmart-$version";
const SHELL = $shell; // the practice page and what it loads
const PAGES = $pages;
const ANY_ORIGIN = { ignoreVary: true }; // modules are requested with an Origin header, which is ours
const SCOPE = new URL("./", self.location.href);

const pathOf = (url) => (url.origin === SCOPE.origin && url.pathname.startsWith(SCOPE.pathname) ? url.pathname.slice(SCOPE.pathname.length) : null);

async function fillCache() {
  const cache = await caches.open(CACHE);
  await cache.addAll(SHELL.map((path) => new URL(path, SCOPE).href));
}

async function dropOldCaches() {
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith("studysmart-") && name !== CACHE).map((name) => caches.delete(name)));
  await self.clients.claim();
}

/** Return an asset of this version from the cache; its address changes with its content. */
async function asset(request) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request, ANY_ORIGIN);
  if (kept !== undefined) return kept;
  const response = await fetch(request);
  if (response.ok) await cache.put(request, response.clone());
  return response;
}

/** Return a page from the network, so that a new version is seen at once; offline from the cache, or else to practise. */
async function page(request) {
  const cache = await caches.open(CACHE);
  const address = request.url.split(/[?#]/)[0];
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(address, response.clone());
    return response;
  } catch (error) {
    const practice = new URL("dashboard/practice", SCOPE).href;
    const kept = await cache.match(address, ANY_ORIGIN);
    if (kept !== undefined) return kept;
    if (address === practice || (await cache.match(practice, ANY_ORIGIN)) === undefined) throw error;
    return Response.redirect(practice); // its links are relative, so it needs its own address
  }
}

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(fillCache());
});
self.addEventListener("activate", (event) => event.waitUntil(dropOldCaches()));
self.addEventListener("fetch", (event) => {
  const { request } = event;
  const path = pathOf(new URL(request.url));
  if (request.method !== "GET" || path === null) return;
  if (request.mode === "navigate" && PAGES.includes(path)) event.respondWith(page(request));
  else if (path.startsWith("static/$version/")) event.respondWith(asset(request));
});
