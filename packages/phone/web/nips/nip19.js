/** NIP-19: the bech32 forms that people copy. A private key is bytes here, never a text of ours. */

import { bech32 } from "@scure/base";
import { fromHex, toHex } from "../bytes.js";
import { InvalidInput } from "../errors.js";

const LIMIT = 5000; // characters, as the specification has it

/** @param {string} name @param {Uint8Array} data */
export const encodeBech32 = (name, data) => bech32.encode(name, bech32.toWords(data), LIMIT);

/** Return name and bytes; throws InvalidInput. @param {string} value @returns {{ name: string, data: Uint8Array }} */
export function decodeBech32(value) {
  try {
    const { prefix, words } = bech32.decode(/** @type {`${string}1${string}`} */ (value.trim()), LIMIT);
    return { name: prefix, data: bech32.fromWords(words) };
  } catch {
    throw new InvalidInput("not a bech32 text, or it has a typing error");
  }
}

/** Return the npub of a pubkey in hex. @param {string} pubkey */
export const encodeNpub = (pubkey) => encodeBech32("npub", fromHex(pubkey));

/** Read an npub, nprofile or 64 hex characters; returns hex, throws InvalidInput. @param {string} value */
export function parsePubkey(value) {
  const plain = value.trim().replace(/^nostr:/i, "");
  if (/^[0-9a-fA-F]{64}$/.test(plain)) return plain.toLowerCase();
  let found;
  try {
    found = decodeBech32(plain);
  } catch {
    throw new InvalidInput("not a bech32 text");
  }
  const { name, data } = found;
  if (name === "npub" && data.length === 32) return toHex(data);
  if (name === "nprofile") {
    for (let at = 0; at + 2 <= data.length; at += 2 + data[at + 1]) {
      if (data[at] === 0 && data[at + 1] === 32 && at + 34 <= data.length) return toHex(data.subarray(at + 2, at + 34));
    }
  }
  throw new InvalidInput("not a public key");
}
