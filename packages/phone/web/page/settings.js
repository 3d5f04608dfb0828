/** Keys, relay, waking, storage, and the page itself. */

import { sha256 } from "@noble/hashes/sha2.js";
import { toHex, utf8 } from "../bytes.js";
import { short } from "../describe/plain.js";
import { BunkerError } from "../errors.js";
import * as push from "../net/push.js";
import { encodeNpub } from "../nips/nip19.js";
import { parseRelayUrl } from "../nips/relay_url.js";
import * as record from "../signer/record.js";
import { LANGUAGES, textsFor } from "../texts/texts.js";
import { button, choice, field, h } from "./widgets/dom.js";
import { confirmDialog } from "./widgets/unlock.js";

/** @typedef {import("./app.js").App} App */
const MAX_OWN = 4; // relays that are asked what a request would replace

/** @param {App} app */
export async function settings(app) {
  const { t, database } = app;
  const [stay, paused, own, kept, running] = await Promise.all([
    database.setting("stay"), database.setting("paused"), database.setting("own_relays"), navigator.storage?.persisted?.() ?? false, runningHash(),
  ]);
  const now = () => app.signer.clock();
  /** @param {boolean} value */
  const pause = (value) => app.attempt(async () => {
    await database.write(record.ALL, async (tx) => {
      await tx.set("paused", value);
      await record.audit(tx, now(), value ? "pause" : "resume", app.keys[0]?.pubkey ?? "", { decided_by: "owner" });
    });
    await app.draw();
  });
  return [
    h("h1", {}, t("settings.title")),
    h("section", { class: "panel" }, h("h2", {}, t("settings.keys")),
      h("ul", { class: "inner" }, app.keys.map((key) => {
        const vault = app.vaults.get(key.pubkey);
        const sealed = vault?.slots.map((slot) => t(slot.type === "passkey-prf" ? "settings.passkey-prf" : "settings.passphrase")).join(", ");
        return h("li", { class: "between" },
          h("span", {}, h("code", { class: "break" }, short(encodeNpub(key.pubkey))), h("small", {}, `${t("settings.sealed")} ${sealed} · ${t(vault?.locked === false ? "settings.unlocked" : "settings.locked")}`)),
          key.recovered
            ? vault?.locked === false && button(t("settings.lock"), async () => { vault.lock(); await app.draw(); })
            : h("a", { class: "button", href: "#finish" }, t("settings.unfinished")));
      })),
      choice(t("settings.stay"), ["0", "5", "30"].map((minutes) => [minutes, t(`settings.stay_${minutes}`)]), String(stay ?? 0), async (value) => {
        await database.set("stay", Number(value));
        app.lockAll();
        await app.draw();
      }).node,
      h("small", {}, t("settings.stay_text")),
      h("p", {}, h("a", { class: "button", href: "#add" }, t("settings.add_key")))),
    h("section", { class: "panel" }, h("h2", {}, t("settings.relay")),
      h("ul", { class: "inner" }, app.relays.all.map((relay) => h("li", { class: "between" },
        h("span", { class: "break" }, relay.url), h("span", { class: `outcome ${relay.listening ? "good" : "bad"}` }, t(relay.listening ? "settings.connected" : "settings.disconnected"))))),
      h("p", {}, h("a", { class: "button", href: "#relay" }, t("join.title")))),
    wakePanel(app),
    ownPanel(app, own ?? []),
    h("section", { class: "panel" }, h("h2", {}, t("settings.storage")), h("p", {}, t(kept ? "settings.kept" : "settings.not_kept")),
      !kept && button(t("settings.keep"), async () => { await navigator.storage?.persist?.(); await app.draw(); })),
    h("section", { class: "panel" }, h("h2", {}, t("settings.page")),
      app.update
        ? h("div", { class: "warning" }, h("h3", {}, t("settings.update")), h("p", {}, t("settings.update_text")), h("code", { class: "break block" }, app.update.hash),
            button(t("settings.update_take"), () => takeUpdate(app), "primary"))
        : h("p", {}, t("settings.current")),
      h("p", {}, t("settings.hash")), h("code", { class: "break block", id: "page-hash" }, running || t("settings.unpinned")), h("small", {}, t("settings.hash_text")),
      h("p", {}, t("settings.signer")), h("code", { class: "break block", id: "transport" }, app.transport.pubkey),
      choice(t("settings.language"), LANGUAGES, app.texts.language, async (language) => {
        await database.set("language", language);
        app.texts = textsFor(language, []);
        app.frame();
        await app.draw();
      }).node),
    h("section", { class: "panel" }, h("h2", {}, t("settings.pause")), h("p", {}, t("settings.pause_text")),
      button(t(paused ? "settings.resume" : "settings.pause"), () => pause(!paused), paused ? "primary" : "")),
    h("section", { class: "panel" }, h("h2", {}, t("settings.panic")), h("p", {}, t("settings.panic_text")),
      button(t("settings.panic"), async () => {
        if (!(await confirmDialog(app, t("settings.panic_sure"), [h("p", {}, t("settings.panic_text"))], t("settings.panic")))) return;
        await app.attempt(() => app.panic());
        await app.draw();
      }, "danger")),
  ];
}

/** The owner's own relays, asked only if they are named here. @param {App} app @param {string[]} relays */
function ownPanel(app, relays) {
  const { t } = app;
  const field_ = field(t("settings.own_field"), { tag: "textarea", rows: 2, spellcheck: false });
  field_.input.value = relays.join("\n");
  return h("section", { class: "panel" }, h("h2", {}, t("settings.own")), h("p", {}, t("settings.own_text")), h("div", { class: "stack" }, field_.node,
    button(t("settings.own_save"), () => app.attempt(async () => {
      const named = [...new Set(field_.input.value.split(/\s+/).filter(Boolean).map(parseRelayUrl))];
      if (named.length > MAX_OWN) throw new BunkerError(t("settings.own_many", { count: MAX_OWN }));
      await app.database.set("own_relays", named);
      app.say(t("done.saved"));
    }))));
}

/** @param {App} app */
function wakePanel(app) {
  const { t } = app;
  const place = h("section", { class: "panel" }, h("h2", {}, t("settings.wake")));
  const [relay] = app.started.own();
  const worker = app.registration;
  const supported = worker && "pushManager" in worker && "Notification" in globalThis;
  if (!relay || !supported) {
    place.append(h("p", {}, t(supported ? "settings.wake_off" : "settings.wake_unsupported")));
    return place;
  }
  const body = h("div", { role: "status" }, t("site.one_moment"));
  place.append(body);
  const show = async () => {
    const state = await push.state(app.transport, relay).catch(() => null);
    const on = state?.subscribed && Notification.permission === "granted";
    body.replaceChildren(
      h("p", {}, t(Notification.permission === "denied" ? "settings.wake_denied" : on ? "settings.wake_on" : "settings.wake_off")),
      on
        ? button(t("settings.wake_test"), () => app.attempt(async () => {
            await push.test(app.transport, relay);
            app.say(t("settings.wake_tested"));
          }))
        : button(t("settings.wake_enable"), () => app.attempt(async () => {
            if ((await Notification.requestPermission()) !== "granted") return show();
            try {
              await push.enable(app.transport, relay, worker);
            } catch (error) {
              throw new Error(t("settings.wake_failed", { reason: error instanceof Error ? error.message : "" }));
            }
            return show();
          }), "primary"));
  };
  void show();
  return place;
}

/** Return the hash of the files that this page runs from, or "" before they are pinned. */
async function runningHash() {
  const [name] = await caches.keys();
  if (!name || !navigator.serviceWorker?.controller) return "";
  const cache = await caches.open(name);
  const lines = [];
  for (const request of await cache.keys()) {
    const body = await (await cache.match(request))?.arrayBuffer();
    if (body) lines.push([new URL(request.url).pathname.slice(1), toHex(sha256(new Uint8Array(body)))]);
  }
  const worker = await fetch("/worker.js").then((answer) => answer.arrayBuffer()).catch(() => null);
  if (worker) lines.push(["worker.js", toHex(sha256(new Uint8Array(worker)))]);
  lines.sort(([a], [b]) => (a < b ? -1 : 1));
  return toHex(sha256(utf8(lines.map(([path, hash]) => `${hash}  ${path}\n`).join(""))));
}

/** Look whether the server has another version than the one that is pinned. @param {App} app */
export async function offered(app) {
  try {
    const said = await (await fetch("/version.json?now", { cache: "no-store" })).json();
    const [pinned] = await caches.keys(); // named by the files that it holds
    if (typeof said.id === "string" && pinned && !pinned.endsWith(said.id.slice(0, 16)) && navigator.serviceWorker?.controller) {
      app.update = { id: said.id, hash: String(said.hash).slice(0, 64) };
      if (app.route.name === "settings") await app.draw();
      document.querySelector("nav a[href='#settings']")?.setAttribute("data-waiting", "");
    }
  } catch {
    // not reachable: nothing is offered
  }
}

/** @param {App} app */
async function takeUpdate(app) {
  if (!app.update || !app.registration) return;
  await app.database.set("accepted", app.update.id);
  const changed = new Promise((resolve) => navigator.serviceWorker.addEventListener("controllerchange", resolve, { once: true }));
  await app.registration.update();
  await changed;
  location.reload();
}
