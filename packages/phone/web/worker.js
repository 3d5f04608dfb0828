/**
 * The service worker: it pins the files of the page, and is woken by a push.
 *
 * Woken, it fetches what waits at the relay, answers what needs no key, and shows the rest in a
 * notification. The user's key is sealed and stays so: only the page can ask for a finger.
 */

/// <reference lib="webworker" />
import { sha256 } from "@noble/hashes/sha2.js";
import { toHex, utf8 } from "./bytes.js";
import { describe, title } from "./describe/description.js";
import { line } from "./describe/plain.js";
import { Database } from "./signer/database.js";
import { shown } from "./signer/operation.js";
import { sameAction } from "./signer/policy.js";
import { DEADLINE } from "./signer/signer.js";
import { start } from "./signer/start.js";
import { textsFor } from "./texts/texts.js";

const worker = /** @type {ServiceWorkerGlobalScope & typeof globalThis} */ (/** @type {unknown} */ (self));
const FILES = BUNKER_FILES; // sha256 by path, of everything but this file and version.json
const ID = toHex(sha256(utf8(Object.entries(FILES).map(([path, hash]) => `${hash}  ${path}\n`).join(""))));
const CACHE = `bunker-${ID.slice(0, 16)}`;
const READY = 8000; // milliseconds for a relay to answer
const QUIET = 700; // milliseconds without a further request

worker.addEventListener("install", (event) => event.waitUntil(install()));
worker.addEventListener("activate", (event) => event.waitUntil(activate()));
worker.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== location.origin || url.search) return;
  const path = url.pathname.slice(1) || "index.html";
  if (path in FILES) event.respondWith(pinned(path));
});
worker.addEventListener("push", (event) => event.waitUntil(woken(event.data?.text() ?? "")));
worker.addEventListener("notificationclick", (event) => {
  event.notification.close();
  event.waitUntil(show());
});

/** Take the files if they are what this version was built with, and the owner wants this version. */
async function install() {
  if (worker.registration.active && (await Database.stored("accepted")) !== ID) throw new Error("another version is taken only if the owner agrees");
  const cache = await caches.open(CACHE);
  await Promise.all(
    Object.entries(FILES).map(async ([path, hash]) => {
      const answer = await fetch(`/${path}`, { cache: "no-store" });
      const body = await answer.arrayBuffer();
      if (!answer.ok || toHex(sha256(new Uint8Array(body))) !== hash) throw new Error(`${path} is not what was built`);
      await cache.put(`/${path}`, new Response(body, { headers: answer.headers }));
    }),
  );
  await worker.skipWaiting();
}

async function activate() {
  for (const name of await caches.keys()) if (name !== CACHE) await caches.delete(name);
  await worker.clients.claim();
}

/** @param {string} path */
async function pinned(path) {
  const found = await (await caches.open(CACHE)).match(`/${path}`);
  return found ?? fetch(`/${path}`);
}

/** @param {string} said what the relay wrote: nothing but why it pushes */
async function woken(said) {
  /** @type {Set<Promise<void>>} */
  const working = new Set();
  let last = Date.now();
  const { database, signer, known, relays, connect } = await start(() => null, {
    handled: (work) => {
      last = Date.now();
      working.add(work);
      void work.finally(() => working.delete(work));
    },
  });
  try {
    await connect();
    await Promise.allSettled(relays.all.map((relay) => relay.ready(READY)));
    last = Date.now(); // what was held comes right after the subscription stands
    while (working.size || Date.now() - last < QUIET) {
      await Promise.allSettled([...working]);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await signer.resume();
    await notify(database, signer, known, said.trim() === "test");
  } finally {
    relays.close();
    database.database.close();
  }
  for (const client of await worker.clients.matchAll({ type: "window" })) client.postMessage("changed");
}

/** Say what waits: a browser that shows nothing after a push loses the right to be woken. @param {Database} database @param {import("./signer/signer.js").Signer} signer @param {import("./signer/known.js").KnownOwner} owner @param {boolean} test */
async function notify(database, signer, owner, test) {
  const texts = textsFor(await database.setting("language"), navigator.languages);
  const jobs = await signer.waiting();
  const options = { icon: "/icon-192.png", badge: "/icon-192.png", tag: "bunker", data: "" };
  if (!jobs.length) {
    const body = texts.get(test ? "notify.test" : "notify.none");
    await worker.registration.showNotification(texts.get("site.name"), { ...options, body });
    return;
  }
  const { client, operation, entry } = jobs[0];
  const app = line(client.name, 64) || texts.get("apps.nameless");
  const alike = jobs.filter((job) => job.entry.client === entry.client && job.entry.key === entry.key && sameAction(job.operation.action, operation.action));
  const known = await owner.of(alike);
  const what = texts.say(title(operation.action, alike.length, known));
  const { dangers } = describe(operation.action, alike.map((job) => shown(job.operation)), signer.clock(), known);
  const body = texts.get("notify.body", { what: dangers.length ? `${what} (!)` : what });
  const more = jobs.length > alike.length ? ` ${texts.number("notify.more", jobs.length)}` : "";
  const until = Math.max(...jobs.map((job) => job.entry.received_at)) + DEADLINE;
  await worker.registration.showNotification(texts.get("notify.title", { app }), {
    ...options, body: body + more, requireInteraction: true, ...{ renotify: true, timestamp: until * 1000 },
  });
}

/** Bring the page up, or open it. */
async function show() {
  const [open] = await worker.clients.matchAll({ type: "window" });
  if (open) {
    open.postMessage("changed");
    await open.focus();
  } else await worker.clients.openWindow("/#requests");
}
