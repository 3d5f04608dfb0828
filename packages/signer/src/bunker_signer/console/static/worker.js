// Shows the offline page when the signer can't be reached. Keeps nothing else: no page of the
// console, no answer, no secret is ever cached.
const worker = /** @type {ServiceWorkerGlobalScope & typeof globalThis} */ (/** @type {unknown} */ (self));
const CACHE = "console-6";
const STATIC = ["console.css", "console.js", "redraw.js", "icon.svg"];
const KEPT = ["/offline", ...STATIC.map((name) => `/static/${name}`)];

worker.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(KEPT)).then(() => worker.skipWaiting()));
});

worker.addEventListener("activate", (event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) => Promise.all(names.filter((name) => name !== CACHE).map((name) => caches.delete(name))))
      .then(() => worker.clients.claim()),
  );
});

/** @param {string} path */
const kept = async (path) => (await caches.match(path)) ?? Response.error();

worker.addEventListener("fetch", (event) => {
  const { pathname } = new URL(event.request.url);
  if (event.request.mode === "navigate") {
    event.respondWith(fetch(event.request).catch(() => kept("/offline")));
  } else if (pathname.startsWith("/static/")) {
    event.respondWith(fetch(event.request).catch(() => kept(pathname)));
  }
});

// A request: shown until it is answered, here or elsewhere. What is shown was decrypted by the
// browser; the push service saw none of it.
worker.addEventListener("push", (event) => {
  const told = event.data ? event.data.json() : {};
  const tag = `request-${told.id}`;
  const work = async () => {
    const shown = await worker.registration.getNotifications({ tag });
    if (told.over) {
      for (const notification of shown) notification.close();
      return;
    }
    const until = new Date(told.until * 1000);
    const clock = until.toLocaleTimeString([], { timeStyle: "short" });
    await worker.registration.showNotification(told.title, {
      body: `${told.body}\n⏳ ${clock}`,
      tag,
      icon: "/static/icon-192.png",
      requireInteraction: true,
      data: { path: `/requests/${told.id}` },
    });
  };
  event.waitUntil(work());
});

worker.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const { path } = event.notification.data;
  const open = async () => {
    const windows = await worker.clients.matchAll({ type: "window", includeUncontrolled: true });
    const mine = windows.find((client) => new URL(client.url).pathname === path);
    if (mine) return mine.focus();
    return worker.clients.openWindow(path);
  };
  event.waitUntil(open());
});
