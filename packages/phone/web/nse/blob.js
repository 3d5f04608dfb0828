/**
 * The sealed key as it is stored: version 2 of bunker_signer.nse, byte for byte.
 *
 *     ciphertext    AES-256-GCM(data key, private key), bound to the fields that say whose it is
 *     slots[].ct    AES-256-GCM(wrapping key, data key), bound to the pubkey and the parameters
 *     mac           AES-256-GCM(data key, nothing), bound to the whole file
 *
 * The text is canonical JSON and no other text is read.
 */

import { canonical, concat, isHex, utf8 } from "../bytes.js";
import { NSEError } from "../errors.js";
import { isObject } from "../nips/event.js";
import { encodeNpub } from "../nips/nip19.js";

const MAX_BLOB = 65536; // characters
export const MAX_SLOTS = 16;
const MAX_PARAMS = 16;
const NO_MAC = "0".repeat(56);

/** @typedef {Record<string, string | number>} Params */
/** @typedef {{ id: string, type: string, hw: boolean, bound: boolean, params: Params, iv: string, ct: string }} Slot */
/** @typedef {{ version: 2, ciphertext: string, iv: string, pubkey: string, npub: string, created_at: number, hardware_backed: boolean, gen: number, slots: Slot[], mac: string }} Blob */

/** Read a sealed key; what is in it is authenticated when it is opened. Throws NSEError. @param {string} text @returns {Blob} */
export function parseBlob(text) {
  if (text.length > MAX_BLOB) throw damaged("too large");
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw damaged("not JSON");
  }
  if (!isObject(value)) throw damaged("not an object");
  if (value.version !== 2) throw damaged(`version ${value.version} is not known here`);
  fields(value, ["ciphertext", "created_at", "gen", "hardware_backed", "iv", "mac", "npub", "pubkey", "slots", "version"]);
  if (!Array.isArray(value.slots)) throw damaged("slots are not a list of objects");
  value.slots.forEach(checkSlot);
  checkBlob(value);
  if (canonical(value) !== text) throw damaged("not in canonical form");
  return value;
}

/** @param {Blob} blob */
export const blobText = (blob) => canonical(blob);

/** What `ciphertext` is bound to. @param {Blob} blob */
export function keyAad({ version, pubkey, created_at, hardware_backed, gen }) {
  return concat(utf8("nse:v2:key\0"), utf8(canonical({ version, pubkey, created_at, hardware_backed, gen })));
}

/** What `mac` is bound to. @param {Blob} blob */
export const macAad = (blob) => concat(utf8("nse:v2:file\0"), utf8(canonical({ ...blob, mac: NO_MAC })));

/** What a slot's `ct` is bound to. @param {Slot} slot @param {string} pubkey */
export function slotAad({ id, type, hw, bound, params }, pubkey) {
  return concat(utf8("nse:v2:slot\0"), utf8(pubkey), utf8(canonical({ id, type, hw, bound, params })));
}

/** @param {string} why */
export const damaged = (why) => new NSEError(`stored key is damaged or foreign: ${why}`, "damaged");

/** @param {any} slot */
function checkSlot(slot) {
  if (!isObject(slot)) throw damaged("slots are not a list of objects");
  fields(slot, ["bound", "ct", "hw", "id", "iv", "params", "type"]);
  for (const value of [slot.id, slot.type]) {
    if (typeof value !== "string" || !value || value.length > 64) throw damaged("slot has no id or no type");
  }
  if (typeof slot.hw !== "boolean" || typeof slot.bound !== "boolean") throw damaged("slot flag is not true or false");
  if (!isObject(slot.params) || Object.keys(slot.params).length > MAX_PARAMS) throw damaged("slot parameters are not an object");
  for (const value of Object.values(slot.params)) {
    if (typeof value !== "string" && !Number.isInteger(value)) throw damaged("slot parameter is neither text nor a whole number");
  }
  if (!isHex(slot.iv, 24) || !isHex(slot.ct, 96)) throw damaged("slot iv or ct has the wrong length");
}

/** @param {any} blob */
function checkBlob(blob) {
  if (!isHex(blob.pubkey, 64)) throw damaged("pubkey is not 64 lower-case hex characters");
  if (!isHex(blob.iv, 24) || !isHex(blob.ciphertext, 96)) throw damaged("iv or ciphertext has the wrong length");
  if (!Number.isSafeInteger(blob.created_at) || blob.created_at < 0) throw damaged("created_at is not a Unix time in seconds");
  if (blob.npub !== encodeNpub(blob.pubkey)) throw damaged("npub is not the one of pubkey");
  if (!Number.isInteger(blob.gen) || blob.gen < 1 || blob.gen >= 2 ** 31) throw damaged("gen is not a counter");
  if (!blob.slots.length || blob.slots.length > MAX_SLOTS) throw damaged("no slots, or too many");
  if (new Set(blob.slots.map((/** @type {Slot} */ slot) => slot.id)).size !== blob.slots.length) throw damaged("two slots have one id");
  if (blob.hardware_backed !== blob.slots.every((/** @type {Slot} */ slot) => slot.hw)) throw damaged("hardware_backed is not what the slots say");
  if (!isHex(blob.mac, 56)) throw damaged("mac has the wrong length");
}

/** @param {object} value @param {string[]} names */
function fields(value, names) {
  if (Object.keys(value).sort().join() !== names.join()) throw damaged("a field is missing or unknown");
}
