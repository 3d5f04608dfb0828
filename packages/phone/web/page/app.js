/** The page: one tab at a time is the signer; what it shows follows from what is stored. */

import { Lookup } from "../net/lookup.js";
import { Passkey } from "../nse/passkey.js";
import { Passphrase } from "../nse/passphrase.js";
import { Vault } from "../nse/vault.js";
import * as record from "../signer/record.js";
import { start } from "../signer/start.js";
import { textsFor } from "../texts/texts.js";
import { activity } from "./activity.js";
import { apps, appDetail } from "./apps.js";
import { finishKey, firstRun, joinRelay } from "./first_run.js";
import { inTurn } from "./in_turn.js";
import { pairing } from "./pair.js";
import { requests } from "./requests.js";
import { offered, settings } from "./settings.js";
import { whileOpen } from "./while_open.js";
import { h } from "./widgets/dom.js";
import { unlockDialog } from "./widgets/unlock.js";

/** @typedef {Awaited<ReturnType<typeof start>>} Started */
/** @typedef {import("../signer/database.js").KeyRow} KeyRow */

const TABS = ["requests", "apps", "activity", "settings"];
const MARKER = "bunker.key"; // in localStorage: there was a key, whatever IndexedDB says
const SWEEP = 1000; // milliseconds between looks at the deadlines
const USE = 20; // seconds that a key stays open for one answer

export class App {
  /** @type {Map<string, Vault>} */
  vaults = new Map();
  /** @type {KeyRow[]} */
  keys = [];
  /** @type {ServiceWorkerRegistration | null} */
  registration = null;
  /** @type {{ hash: string, id: string } | null} what another version calls itself */
  update = null;
  news = 0; // how often more became known of the owner while a question was shown
  said = "";
  #drawn = "";
  #going = false;

  /** @param {Started} started @param {import("../describe/texts.js").Texts} texts */
  constructor(started, texts) {
    this.started = started;
    this.texts = texts;
    this.main = /** @type {HTMLElement} */ (document.querySelector("main"));
    this.lookup = new Lookup(started.curve, (event) => started.known.signed(event));
    started.signer.changed = () => void this.refresh();
  }

  get database() {
    return this.started.database;
  }
  get signer() {
    return this.started.signer;
  }
  get transport() {
    return this.started.transport;
  }
  get relays() {
    return this.started.relays;
  }
  get curve() {
    return this.started.curve;
  }

  /** A sentence. @param {string} key @param {Record<string, any>} values */
  t = (key, values = {}) => this.texts.get(key, values);

  /** The vault of a key whose recovery copy is saved; another is not used. @param {string} pubkey */
  vaultOf = (pubkey) => {
    const row = this.keys.find((key) => key.pubkey === pubkey);
    return row?.recovered ? (this.vaults.get(pubkey) ?? null) : null;
  };

  /** Read the keys anew. */
  async loadKeys() {
    this.keys = await this.database.read(["keys"], (tx) => tx.all("keys"));
    for (const key of this.keys) {
      const known = this.vaults.get(key.pubkey);
      if (!known || known.text !== key.blob) this.vaults.set(key.pubkey, new Vault(this.curve, key.blob));
    }
    if (this.keys.length) localStorage.setItem(MARKER, this.keys[0].pubkey);
  }

  get lost() {
    return !this.keys.length && localStorage.getItem(MARKER) !== null;
  }

  /** Open a key: by its passkey, or by a passphrase that is asked. Throws NSEError. @param {string} pubkey */
  async unlock(pubkey, seconds = USE) {
    const vault = /** @type {Vault} */ (this.vaults.get(pubkey));
    if (!vault.locked) return vault;
    const stay = 60 * ((await this.database.setting("stay")) ?? 0);
    const types = vault.slots.map((slot) => slot.type);
    const protector = types.includes("passkey-prf") && "credentials" in navigator ? new Passkey() : new Passphrase(await unlockDialog(this));
    try {
      await vault.unlock(protector, Math.max(stay, seconds));
    } finally {
      protector.close();
    }
    return vault;
  }

  /** Do what needs open keys. */
  whileOpen = whileOpen(async () => Boolean(await this.database.setting("stay")), () => this.lockAll());

  /** Lock what is not to stay open. */
  relock = () => this.whileOpen(async () => {});

  lockAll() {
    for (const vault of this.vaults.values()) vault.lock();
  }

  /** Show a sentence above the page, once. @param {string} text */
  say(text, bad = false) {
    const place = /** @type {HTMLElement} */ (document.getElementById("said"));
    place.replaceChildren(h("p", { class: `banner ${bad ? "bad" : "good"}` }, text));
  }

  /** Run work whose failure is told in words. @template T @param {() => Promise<T>} work @returns {Promise<T | undefined>} */
  async attempt(work) {
    document.getElementById("said")?.replaceChildren();
    try {
      return await work();
    } catch (error) {
      this.say(error instanceof Error && error.message ? error.message : this.t("problem.title"), true);
      return undefined;
    }
  }

  get route() {
    const [name, ...rest] = location.hash.slice(1).split("/");
    return { name: name || "requests", rest: rest.join("/") };
  }

  /** @param {string} to */
  go(to) {
    document.getElementById("said")?.replaceChildren();
    this.#going = location.hash !== `#${to}`; // what is said from here on stays
    if (location.hash === `#${to}`) void this.draw();
    else location.hash = to;
  }

  /** Draw the page for the address; `force` also where nothing of it changed. */
  async draw() {
    this.#drawn = "";
    await this.refresh();
  }

  /** Draw again if what is shown has changed. Never twice at once: an older look would be drawn last. */
  refresh = inTurn(() => this.#refresh());

  async #refresh() {
    const { name, rest } = this.route;
    void this.signer.waiting().then((jobs) => document.querySelector("nav a[href='#requests']")?.toggleAttribute("data-waiting", jobs.length > 0));
    const unfinished = this.keys.find((key) => !key.recovered);
    document.body.classList.toggle("plain", !this.keys.some((key) => key.recovered));
    if (name.startsWith("join=")) return this.#screen("join", () => joinRelay(this, name.slice(5)));
    if (!this.keys.length) return this.#screen("first", () => firstRun(this));
    if (unfinished && (name === "finish" || !this.keys.some((key) => key.recovered))) return this.#screen("finish", () => finishKey(this, unfinished));
    switch (name) {
      case "add":
        return this.#screen("add", () => firstRun(this));
      case "relay":
        return this.#screen("relay", () => joinRelay(this, ""));
      case "apps": {
        if (rest) return this.#screen(`app ${rest}`, () => appDetail(this, rest));
        const page = await apps(this); // one that pairs or logs out meanwhile is seen to
        return this.#screen(`apps ${page.seen}`, page.make);
      }
      case "pair":
        return this.#screen(`pair ${rest}`, () => pairing(this, rest));
      case "activity":
        return this.#screen("activity", () => activity(this));
      case "settings":
        return this.#screen(`settings ${this.relays.all.map((relay) => `${relay.url} ${relay.listening}`)}`, () => settings(this));
      default: {
        const page = await requests(this);
        return this.#screen(`requests ${page.seen}`, page.make);
      }
    }
  }

  /** @param {string} what @param {() => any} make */
  async #screen(what, make) {
    for (const link of document.querySelectorAll("nav a")) {
      const here = link.getAttribute("href") === `#${TABS.includes(this.route.name) ? this.route.name : ""}`;
      if (here) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (what === this.#drawn) return;
    const moved = this.#drawn.split(" ")[0] !== what.split(" ")[0];
    this.#drawn = what;
    const content = await make();
    if (this.#drawn !== what) return; // something else was wanted in the meantime
    this.main.replaceChildren(...[content].flat().filter(Boolean));
    this.main.dataset.page = what.split(" ")[0];
    const title = this.main.querySelector("h1")?.textContent ?? "";
    document.title = `${title} · ${this.t("site.name")}`;
    // Gone to, a page is read from its beginning; a question that appears on it is announced.
    if (moved) this.main.focus({ preventScroll: true });
    const announce = /** @type {HTMLElement} */ (document.getElementById("announce"));
    const said = !moved && this.main.querySelector("#asked") ? title : "";
    if (announce.textContent !== said) announce.textContent = said;
  }

  /** Answer what can be answered and end what is too late, once a second. */
  sweep = inTurn(() => this.signer.resume());

  /** Connect, and stay the signer until another tab takes over. */
  async run() {
    await this.loadKeys();
    this.frame();
    addEventListener("hashchange", () => {
      if (!this.#going) document.getElementById("said")?.replaceChildren();
      this.#going = false;
      void this.draw();
    });
    navigator.serviceWorker?.addEventListener("message", () => void this.sweep());
    addEventListener("online", () => this.relays.all.forEach((relay) => relay.hurry()));
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.relays.all.forEach((relay) => relay.hurry());
    });
    await this.started.connect();
    setInterval(() => void this.sweep(), SWEEP);
    await this.draw();
    if (!this.update) void offered(this);
  }

  /** Draw what stands around every page. */
  frame() {
    document.documentElement.lang = this.texts.language;
    const nav = /** @type {HTMLElement} */ (document.querySelector("nav"));
    nav.setAttribute("aria-label", this.t("nav.label"));
    nav.replaceChildren(...TABS.map((name) => h("a", { href: `#${name}` }, h("span", { class: `icon ${name}`, "aria-hidden": "true" }), this.t(`nav.${name}`))));
    /** @type {HTMLElement} */ (document.querySelector(".skip")).textContent = this.t("site.skip");
  }

  /** Lock everything, end every app's access and pause. */
  async panic() {
    this.lockAll();
    const now = this.signer.clock();
    await this.database.write(record.ALL, async (tx) => {
      for (const client of await tx.all("clients")) await record.removeClient(tx, client.pubkey, "revoke", now, "panic");
      await tx.clear("secrets");
      await tx.clear("requests");
      await tx.set("paused", true);
      await record.audit(tx, now, "panic", this.keys[0]?.pubkey ?? "", { decided_by: "owner" });
    });
  }
}

/** Start the page, or say why it can't. */
async function begin() {
  const main = /** @type {HTMLElement} */ (document.querySelector("main"));
  const texts = textsFor(undefined, navigator.languages);
  /** @param {string} title @param {...any} rest */
  const problem = (title, ...rest) => main.replaceChildren(h("section", { class: "narrow" }, h("h1", {}, title), ...rest));
  if (!isSecureContext) return problem(texts.get("problem.title"), h("p", {}, texts.get("problem.insecure")));
  const missing = [["WebAssembly", typeof WebAssembly], ["IndexedDB", typeof indexedDB], ["Web Locks", typeof navigator.locks], ["WebCrypto", typeof crypto.subtle]].find(([, type]) => type === "undefined");
  if (missing) return problem(texts.get("problem.title"), h("p", {}, texts.get("problem.support", { what: missing[0] })));
  // One tab is the signer. Another one can take it over.
  const elsewhere = () => {
    document.body.classList.add("plain");
    problem(texts.get("tab.title"), h("p", {}, texts.get("tab.text")), h("button", { type: "button", class: "primary big", onclick: () => lock(true) }, texts.get("tab.here")));
  };
  /** @param {boolean} steal */
  const lock = (steal) =>
    navigator.locks
      .request("bunker-signer", steal ? { steal: true } : { ifAvailable: true }, async (held) => {
        if (!held) return elsewhere();
        const register = registration();
        /** @type {App} */
        let app;
        const started = await start((key) => app.vaultOf(key), { state: () => void app?.refresh() });
        app = new App(started, textsFor(await started.database.setting("language"), navigator.languages));
        app.registration = await register;
        await app.run();
        return new Promise(() => {}); // held until the tab goes, or another one steals it
      })
      .catch((error) => {
        if (error instanceof DOMException && error.name === "AbortError") return location.reload(); // taken over
        console.error(error);
        problem(texts.get("problem.title"), h("p", {}, String(error?.message ?? error)));
      });
  return lock(false);
}

/** Pin the files of this page. @returns {Promise<ServiceWorkerRegistration | null>} */
async function registration() {
  if (!navigator.serviceWorker) return null;
  const policy = /** @type {any} */ (globalThis).trustedTypes?.createPolicy("bunker", { createScriptURL: () => "/worker.js" });
  try {
    return await navigator.serviceWorker.register(policy ? policy.createScriptURL("") : "/worker.js", { updateViaCache: "none" });
  } catch {
    return (await navigator.serviceWorker.getRegistration()) ?? null; // another version was refused: the old one serves on
  }
}

void begin();
