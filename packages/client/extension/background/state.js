/**
 * What the extension keeps: identities, what each site may do, what was done, settings.
 *
 * In IndexedDB, which belongs to the extension's own origin: a script that runs in a web page, our
 * own included, can't reach it. One row for each part, read once and written whole.
 */

import { done } from "../../../phone/web/signer/database.js";

const NAME = "nostr-bunker";
const PARTS = /** @type {const} */ (["identities", "sites", "settings", "activity"]);
export const MAX_SITES = 2000; // that something is remembered of; the oldest goes
const MAX_ACTIVITY = 300;
const MAX_GRANTS = 200; // of one site

/** @typedef {import("../../../phone/web/signer/policy.js").Grant} Grant */
/** @typedef {{ secret: Uint8Array, signer: string, relays: string[] }} Remote `secret` is the client key */
/**
 * Somebody to be on the web.
 * @typedef {object} Identity
 * @property {string} id
 * @property {"remote" | "sealed" | "native"} home
 * @property {string} name
 * @property {string} pubkey "" of a program on this machine that was not asked yet
 * @property {Remote} [remote]
 * @property {string} [blob] the sealed key
 * @property {boolean} [unsaved] it has no recovery copy yet, and is not used before
 */
/** @typedef {{ identity: string, grants: Grant[] }} Site */
/** @typedef {{ at: number, origin: string, identity: string, what: import("../../../phone/web/describe/texts.js").Sentence | null, outcome: "allowed" | "denied" | "failed" }} Entry */
/** @typedef {{ language: string, relays: string[], identity: string, minutes: number }} Settings */

/** @typedef {{ identities: Identity[], sites: Record<string, Site>, settings: Settings, activity: Entry[] }} Kept */

/** @returns {Kept} */
const fresh = () => ({ identities: [], sites: {}, settings: { language: "", relays: [], identity: "", minutes: 15 }, activity: [] });

export class State {
  /** @type {IDBDatabase | null} */
  #database;
  /** @type {Set<(typeof PARTS)[number]>} */
  #unwritten = new Set();
  /** The write that begins when the last one has ended. @type {Promise<void> | null} */
  #next = null;
  /** @type {Promise<void>} */
  #last = Promise.resolve();

  /** @param {IDBDatabase | null} database null keeps nothing (tests) @param {Partial<Kept>} kept */
  constructor(database, kept) {
    this.#database = database;
    this.kept = { ...fresh(), ...kept };
  }

  static async open() {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore("state");
    const database = await done(request);
    const store = database.transaction("state").objectStore("state");
    const values = await Promise.all(PARTS.map((part) => done(store.get(part))));
    return new State(database, Object.fromEntries(PARTS.flatMap((part, index) => (values[index] === undefined ? [] : [[part, values[index]]]))));
  }

  /** Write parts down. What comes while a write is under way goes into the next one, all together. @param {...(typeof PARTS)[number]} parts @returns {Promise<void>} */
  save(...parts) {
    if (!this.#database) return Promise.resolve();
    for (const part of parts) this.#unwritten.add(part);
    this.#next ??= this.#last.then(() => this.#write(/** @type {IDBDatabase} */ (this.#database)));
    return this.#next;
  }

  /** @param {IDBDatabase} database @returns {Promise<void>} */
  #write(database) {
    const parts = [...this.#unwritten];
    this.#unwritten.clear();
    this.#next = null;
    const transaction = database.transaction("state", "readwrite", { durability: "strict" });
    for (const part of parts) transaction.objectStore("state").put(this.kept[part], part);
    /** @type {Promise<void>} */
    const written = new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onabort = () => reject(transaction.error);
    });
    this.#last = written.catch(() => {});
    return written;
  }

  /** Return who a site deals with: its own choice, or the one that is for all. @param {string} origin @returns {Identity | undefined} */
  identityOf(origin) {
    const { sites, settings } = this.kept;
    const identities = this.kept.identities.filter((item) => !item.unsaved);
    const wanted = site(sites, origin)?.identity || settings.identity;
    return identities.find((item) => item.id === wanted) ?? identities[0];
  }

  /** @param {string} origin */
  grantsOf(origin) {
    return site(this.kept.sites, origin)?.grants ?? [];
  }

  /** Change what is remembered of a site. @param {string} origin @param {Partial<Site>} change */
  async setSite(origin, change) {
    const { sites } = this.kept;
    const next = { identity: "", grants: [], ...site(sites, origin), ...change };
    next.grants = next.grants.slice(-MAX_GRANTS);
    delete sites[origin]; // what changed last goes last
    if (next.grants.length || next.identity) sites[origin] = next;
    const names = Object.keys(sites);
    for (const name of names.slice(0, Math.max(0, names.length - MAX_SITES))) delete sites[name];
    await this.save("sites");
  }

  /** Remember a grant or a denial in place of what it replaces. @param {string} origin @param {Grant} grant */
  remember(origin, grant) {
    const others = this.grantsOf(origin).filter((item) => item.method !== grant.method || item.param !== grant.param);
    return this.setSite(origin, { grants: [...others, grant] });
  }

  /** @param {Identity} identity */
  async addIdentity(identity) {
    this.kept.identities.push(identity);
    await this.save("identities");
  }

  /** Forget somebody; sites that dealt with them are asked anew. @param {string} id */
  async removeIdentity(id) {
    this.kept.identities = this.kept.identities.filter((item) => item.id !== id);
    for (const [origin, kept] of Object.entries(this.kept.sites)) if (kept.identity === id) delete this.kept.sites[origin];
    if (this.kept.settings.identity === id) this.kept.settings.identity = "";
    await this.save("identities", "sites", "settings");
  }

  /** @param {Entry} entry */
  async note(entry) {
    this.kept.activity = [...this.kept.activity, entry].slice(-MAX_ACTIVITY);
    await this.save("activity");
  }
}

/** An origin is a stranger's text: it never names what every object has. @param {Record<string, Site>} sites @param {string} origin */
const site = (sites, origin) => (Object.hasOwn(sites, origin) ? sites[origin] : undefined);
