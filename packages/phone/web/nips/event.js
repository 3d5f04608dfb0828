/** Events: canonical form, id, signature and strict parsing (NIP-01). */

import { sha256 } from "@noble/hashes/sha2.js";
import { fromHex, isHex, toHex, utf8 } from "../bytes.js";
import { InvalidInput } from "../errors.js";

/** @typedef {{ kind: number, content: string, tags: string[][], created_at: number }} Template */
/** @typedef {Template & { id: string, pubkey: string, sig: string }} Event */
/** @typedef {{ pubkey: string, sign(message: Uint8Array): Uint8Array | Promise<Uint8Array> }} SigningKey */

export const NOTE = 1;
export const NOSTR_CONNECT = 24133;
export const CLIENT_AUTH = 22242;
export const HTTP_AUTH = 27235;
const MAX_KIND = 65535;

/** Return the id that `template` has when `pubkey` signs it; throws InvalidInput. @param {Template} template @param {string} pubkey */
export function eventId(template, pubkey) {
  const { created_at, kind, tags, content } = template;
  const whole = [content, ...tags.flat()].every((value) => /** @type {any} */ (value).isWellFormed?.() ?? true);
  if (!whole) throw new InvalidInput("text is not valid Unicode");
  return toHex(sha256(utf8(JSON.stringify([0, pubkey, created_at, kind, tags, content]))));
}

/** Return `template` signed by `key`. @param {Template} template @param {SigningKey} key @returns {Promise<Event>} */
export async function signEvent(template, key) {
  const id = eventId(template, key.pubkey);
  const sig = toHex(await key.sign(fromHex(id)));
  const { kind, content, tags, created_at } = template;
  return { id, pubkey: key.pubkey, created_at, kind, tags, content, sig };
}

/** Check id and signature; throws InvalidInput. @param {Event} event @param {import("../secp256k1.js").Secp256k1} curve */
export function verifyEvent(event, curve) {
  const id = eventId(event, event.pubkey);
  if (id !== event.id) throw new InvalidInput("event id does not match");
  if (!curve.verify(fromHex(event.pubkey), fromHex(id), fromHex(event.sig))) {
    throw new InvalidInput("signature does not match");
  }
}

/** Read an event from parsed JSON; the shape alone. Throws InvalidInput. @param {any} value @returns {Event} */
export function parseEvent(value) {
  if (!isObject(value)) throw new InvalidInput("event is not an object");
  for (const name of ["id", "pubkey", "created_at", "kind", "tags", "content", "sig"]) {
    if (!(name in value)) throw new InvalidInput(`field '${name}' is missing`);
  }
  const { id, pubkey, created_at, kind, content, sig } = value;
  for (const [name, item, length] of [["id", id, 64], ["pubkey", pubkey, 64], ["sig", sig, 128]]) {
    if (!isHex(item, length)) throw new InvalidInput(`${name} is not ${length} lower-case hex characters`);
  }
  const tags = parseTags(value.tags);
  checkTemplate(kind, content, created_at);
  return { id, pubkey, created_at, kind, tags, content, sig };
}

/**
 * Read what a client sends to `sign_event`: `content` and `tags` default to empty, `created_at` to
 * `now`; other fields are ignored. Throws InvalidInput.
 * @param {any} value @param {number} now Unix seconds @returns {Template}
 */
export function parseTemplate(value, now) {
  if (!isObject(value)) throw new InvalidInput("event is not an object");
  if (!("kind" in value)) throw new InvalidInput("field 'kind' is missing");
  const kind = value.kind;
  const content = value.content ?? "";
  const tags = parseTags(value.tags || []);
  const created_at = value.created_at ?? now;
  checkTemplate(kind, content, created_at);
  return { kind, content, tags, created_at };
}

/** Tell whether a later event of a kind takes an earlier one's place (NIP-01). @param {number} kind */
export const isReplaced = (kind) => kind === 0 || kind === 3 || (kind >= 10000 && kind < 20000) || (kind >= 30000 && kind < 40000);

/** Return what tells addressable events of one kind apart; "" for others. @param {Template} event */
export const dTag = ({ kind, tags }) => (kind >= 30000 && kind < 40000 ? (tags.find((tag) => tag.length > 1 && tag[0] === "d")?.[1] ?? "") : "");

/** Return the first value of every tag of a name. @param {Template} event @param {string} name */
export const tagValues = (event, name) =>
  event.tags.filter((tag) => tag.length > 1 && tag[0] === name).map((tag) => tag[1]);

/** @param {any} value @returns {string[][]} */
function parseTags(value) {
  if (!Array.isArray(value)) throw new InvalidInput("tags are not an array");
  for (const tag of value) {
    if (!Array.isArray(tag)) throw new InvalidInput("a tag is not an array");
    if (!tag.every((item) => typeof item === "string")) {
      throw new InvalidInput("a tag holds something that is not a string");
    }
  }
  return value;
}

/** @param {any} kind @param {any} content @param {any} created_at */
function checkTemplate(kind, content, created_at) {
  if (!Number.isInteger(kind) || kind < 0 || kind > MAX_KIND) {
    throw new InvalidInput(`kind is not an integer from 0 to ${MAX_KIND}`);
  }
  if (!Number.isSafeInteger(created_at) || created_at < 0) {
    throw new InvalidInput("created_at is not a Unix time in seconds");
  }
  if (typeof content !== "string") throw new InvalidInput("content is not a string");
}

/** @param {unknown} value */
export const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
