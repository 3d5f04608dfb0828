// Shows the offline page when the signer can't be reached. Keeps nothing else: no page of the
// console, no answer, no secret is ever cached.
const CACHE = "console-4";
const KEPT = ["/offline", "/static/console.css", "/static/console.js", "/static/icon.svg"];

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(KEPT)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) => Promise.all(names.filter((name) => name !== CACHE).map((name) => caches.delete(name))))
      .then(() => self.clients.claim()),
  );
});

self.addEventListener("fetch", (event) => {
  const { pathname } = new URL(event.request.url);
  if (event.request.mode === "navigate") {
    event.respondWith(fetch(event.request).catch(() => caches.match("/offline")));
  } else if (pathname.startsWith("/static/")) {
    event.respondWith(fetch(event.request).catch(() => caches.match(pathname)));
  }
});
