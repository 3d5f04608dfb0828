/** What is known of the owner, apart from a request itself: as bunker_core.describe.change.Known. */

import { isHex } from "../bytes.js";
import { dTag } from "../nips/event.js";
import { encodeNpub } from "../nips/nip19.js";
import { line, short } from "./plain.js";

/** @typedef {import("../nips/event.js").Template} Template */
/**
 * @typedef {object} Known
 * @property {ReadonlyMap<string, Template>} events the latest replaceable event by its `placeOf`
 * @property {ReadonlyMap<string, string>} notes texts of events by id
 * @property {ReadonlyMap<string, string>} names people's names in the owner's follow list, by pubkey
 * @property {ReadonlySet<string> | null} hosts where this key has logged in before; null when nobody keeps count
 * @property {boolean} sameName another paired app calls itself the same
 * @property {string} ownName of the key that is asked for, by its own profile
 */

/** @type {Known} */
export const NOTHING = { events: new Map(), notes: new Map(), names: new Map(), hosts: null, sameName: false, ownName: "" };

/** What one replaceable event takes the place of (NIP-01). @param {Template} event */
export const placeOf = (event) => `${event.kind}:${dTag(event)}`;

/** Return a person's name in the owner's own list, else the short npub. @param {string} pubkey @param {Known} known */
export function nameOf(pubkey, known = NOTHING) {
  const name = known.names.get(pubkey);
  if (name) return line(name, 40);
  return isHex(pubkey, 64) ? short(encodeNpub(pubkey)) : line(pubkey, 40);
}

/** Return a name without what makes it only look different. @param {string} name */
export const plainest = (name) => name.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");
