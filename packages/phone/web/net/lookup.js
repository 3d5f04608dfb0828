/**
 * Asks the owner's own relays, if they agreed, what a request would replace or delete.
 *
 * Only events that the owner signed are taken. The relays learn that somebody looks at the owner's
 * public lists, and nothing of the request.
 */

import { isHex } from "../bytes.js";
import { dTag, isReplaced, parseEvent, verifyEvent } from "../nips/event.js";

/** @typedef {import("../nips/event.js").Event} Event */
/** @typedef {import("../signer/signer.js").Job} Job */
/** @typedef {{ authors: string[], kinds?: number[], ids?: string[], "#d"?: string[], limit: number }} Filter */

const TIMEOUT = 6000; // milliseconds for all relays: a person decides faster than that seldom
const EVERY = 20_000; // milliseconds in which the same is not asked again
const AT_ONCE = 4; // look-ups; others go without
const MAX_EVENTS = 64; // of one relay's answer
const MAX_IDS = 100; // events of a deletion that are asked for
const MAX_FRAME = 1_048_576; // characters

export class Lookup {
  /** @type {Map<string, number>} */
  #asked = new Map();
  #running = 0;

  /** @param {import("../secp256k1.js").Secp256k1} curve @param {(event: Event) => Promise<boolean>} take resolves to whether it was news */
  constructor(curve, take) {
    this.curve = curve;
    this.take = take;
  }

  /** Ask about one question; resolves to whether more is known than before. @param {string[]} relays @param {Job[]} jobs */
  async ask(relays, jobs) {
    const filter = filterOf(jobs);
    if (!filter || !relays.length || this.#running >= AT_ONCE) return false;
    const now = performance.now();
    const wanted = JSON.stringify([relays, filter]);
    for (const [key, at] of this.#asked) if (now >= at + EVERY) this.#asked.delete(key);
    if (this.#asked.has(wanted)) return false;
    this.#asked.set(wanted, now);
    this.#running++;
    try {
      // With half of the relays away what the others say still counts.
      const found = await Promise.all(relays.map((relay) => fetchEvents(relay, filter)));
      let news = false;
      for (const event of found.flat()) if (this.#isAsked(event, filter)) news = (await this.take(event)) || news;
      return news;
    } finally {
      this.#running--;
    }
  }

  /** What a relay sends need not be what it was asked for. @param {Event} event @param {Filter} filter */
  #isAsked(event, filter) {
    const { authors, kinds, ids } = filter;
    if (!authors.includes(event.pubkey) || (kinds && !kinds.includes(event.kind)) || (ids && !ids.includes(event.id))) return false;
    if (filter["#d"] && !filter["#d"].includes(dTag(event))) return false;
    try {
      verifyEvent(event, this.curve);
      return true;
    } catch {
      return false;
    }
  }
}

/** Return what would be replaced or deleted, as a filter; null for what replaces nothing. @param {Job[]} jobs @returns {Filter | null} */
export function filterOf(jobs) {
  const templates = jobs.flatMap((job) => job.operation.template ?? []);
  if (!templates.length) return null;
  const authors = [jobs[0].entry.key];
  const [{ kind }] = templates;
  if (kind === 5) {
    const targets = templates.flatMap(({ tags }) => tags).filter(([name, id]) => name === "e" && isHex(id, 64));
    const ids = [...new Set(targets.map((tag) => tag[1]))].sort().slice(0, MAX_IDS);
    return ids.length ? { ids, authors, limit: MAX_IDS } : null;
  }
  if (!isReplaced(kind)) return null;
  const filter = { authors, kinds: [kind], limit: MAX_EVENTS };
  return kind < 30000 ? filter : { ...filter, "#d": [...new Set(templates.map(dTag))].slice(0, MAX_IDS) };
}

/** Ask one relay over a connection of its own; whatever is wrong with it gives less, and no error. @param {string} relay @param {Filter} filter @returns {Promise<Event[]>} */
function fetchEvents(relay, filter) {
  return new Promise((resolve) => {
    /** @type {Event[]} */
    const found = [];
    /** @type {WebSocket | undefined} */
    let socket;
    const end = () => {
      clearTimeout(timer);
      socket?.close();
      resolve(found);
    };
    const timer = setTimeout(end, TIMEOUT);
    try {
      socket = new WebSocket(relay);
    } catch {
      return end();
    }
    socket.onopen = () => socket?.send(JSON.stringify(["REQ", "own", filter]));
    socket.onclose = end;
    socket.onmessage = ({ data }) => {
      if (typeof data !== "string" || data.length > MAX_FRAME) return end();
      try {
        const [type, id, event] = JSON.parse(data);
        if (id !== "own") return;
        if (type === "EVENT") found.push(parseEvent(event));
        if (type === "EOSE" || type === "CLOSED" || found.length >= MAX_EVENTS) end();
      } catch {
        end(); // no relay speaks like that
      }
    };
  });
}
