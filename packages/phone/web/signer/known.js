/**
 * What the signer knows of its owner, so that a question can say what would change.
 *
 * The latest of each replaceable event that it signed, or that the owner's relays gave it, and the
 * hosts where a key has logged in, lie in this browser; the beginnings of notes are in memory alone.
 * All of it was signed to be published. Losing it costs nothing but a comparison.
 */

import { hosts, LOGIN_TAGS } from "../describe/hosts.js";
import { placeOf, plainest } from "../describe/known.js";
import { line } from "../describe/plain.js";
import { isObject, isReplaced, NOTE } from "../nips/event.js";

/** @typedef {import("../nips/event.js").Event} Event */
/** @typedef {import("../describe/known.js").Known} Known */
/** @typedef {import("./database.js").KnownRow} KnownRow */
/** @typedef {import("./signer.js").Job} Job */

const MAX_BYTES = 4 * 1024 * 1024; // characters of events, for each key
const MAX_EVENT = 512 * 1024;
const MAX_HOSTS = 1000; // for each key
const MAX_NOTES = 2000; // of all keys
const NOTE_LENGTH = 200;

export class KnownOwner {
  /** @type {Map<string, string>} */
  #notes = new Map();

  /** @param {import("./database.js").Database} database */
  constructor(database) {
    this.database = database;
  }

  /** Return what is known that concerns one question. @param {Job[]} jobs @returns {Promise<Known>} */
  async of(jobs) {
    const { client, entry, operation } = jobs[0];
    const templates = jobs.flatMap((job) => job.operation.template ?? []);
    const places = new Set(["0:", "3:", ...templates.filter(({ kind }) => isReplaced(kind)).map(placeOf)]);
    return this.database.read(["known", "clients"], async (tx) => {
      /** @type {Map<string, Event>} */
      const events = new Map();
      for (const place of places) {
        const row = await tx.get("known", [entry.key, place]);
        if (row) events.set(place, row.event);
      }
      const clients = await tx.all("clients");
      const logins = operation.action.kind !== null && operation.action.kind in LOGIN_TAGS;
      return {
        events, notes: this.#notes,
        names: new Map((events.get("3:")?.tags ?? []).filter((tag) => tag[0] === "p" && tag[3]).map((tag) => [tag[1], tag[3]])),
        hosts: logins ? new Set((await tx.all("known", "key", [entry.key, "host"])).map((row) => row.place[1].slice(HOST.length))) : null,
        sameName: plainest(client.name) !== "" && clients.some((other) => other.pubkey !== client.pubkey && plainest(other.name) === plainest(client.name)),
        ownName: ownName(events.get("0:")),
      };
    });
  }

  /** Remember an event that was signed, or that a relay gave us of our own; return whether it is news. @param {Event} event */
  async signed(event) {
    if (event.kind === NOTE || this.#deleted(event)) return this.#note(event);
    const key = event.pubkey;
    if (event.kind in LOGIN_TAGS) {
      const places = hosts(event).slice(0, 4).map((host) => `${HOST}${host.slice(0, 255)}`);
      await this.database.write(["known"], async (tx) => {
        for (const place of places) await tx.put("known", { place: [key, place], key: [key, "host"], at: event.created_at, size: 1, event: null });
        await trim(tx, [key, "host"], MAX_HOSTS);
      });
      return places.length > 0;
    }
    if (!isReplaced(event.kind)) return false;
    const size = JSON.stringify(event).length;
    if (size > MAX_EVENT) return false;
    return this.database.write(["known"], async (tx) => {
      const place = [key, placeOf(event)];
      const row = await tx.get("known", place);
      // NIP-01: of two of one second the lower id counts.
      if (row && (row.at > event.created_at || (row.at === event.created_at && row.event.id <= event.id))) return false;
      await tx.put("known", { place, key: [key, "event"], at: event.created_at, size, event });
      await trim(tx, [key, "event"], MAX_BYTES);
      return true;
    });
  }

  /** What is neither replaced nor a login is known for its text alone. @param {Event} event */
  #deleted(event) {
    return !isReplaced(event.kind) && !(event.kind in LOGIN_TAGS);
  }

  /** @param {Event} event */
  #note(event) {
    if (this.#notes.has(event.id)) return false;
    this.#notes.set(event.id, event.content.slice(0, NOTE_LENGTH));
    if (this.#notes.size > MAX_NOTES) this.#notes.delete(/** @type {string} */ (this.#notes.keys().next().value));
    return true;
  }
}

const HOST = "host ";

/** Forget the oldest beyond a bound. @param {import("./database.js").Transaction} tx @param {string[]} key @param {number} bound */
async function trim(tx, key, bound) {
  /** @type {KnownRow[]} */
  const rows = await tx.all("known", "key", key);
  let total = 0;
  for (const row of rows.sort((a, b) => b.at - a.at)) {
    total += row.size;
    if (total > bound) await tx.delete("known", row.place);
  }
}

/** @param {Event | undefined} profile */
function ownName(profile) {
  try {
    const fields = JSON.parse(profile?.content ?? "");
    return isObject(fields) && typeof fields.name === "string" ? line(fields.name, 40) : "";
  } catch {
    return "";
  }
}
