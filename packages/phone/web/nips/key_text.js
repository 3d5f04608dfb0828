/**
 * A private key in whatever form a person has it: nsec, hex, ncryptsec, JSON with one.
 *
 * Quotes, a byte order mark, spaces, `nostr:` and `0x` in front, and capitals are what editors and QR
 * codes add. What is something else is named; no message repeats the text.
 */

import { fromHex } from "../bytes.js";
import { CryptoError, InvalidInput } from "../errors.js";
import { decodeBech32 } from "./nip19.js";
import * as nip49 from "./nip49.js";

const MAX_TEXT = 65536; // characters
const WANTED = "wanted is an nsec1…, an ncryptsec1… or 64 hex characters";
const QUOTES = /^["'`“”‘’«»]+|["'`“”‘’«»]+$/g;
const WORD_COUNTS = [12, 15, 18, 21, 24]; // BIP-39
// Under which an app's export has the key, the encrypted one first: it is the one that was meant.
const FIELDS = [
  "ncryptsec", "nsec", "privateKey", "private_key", "privatekey", "privkey", "secretKey",
  "secret_key", "seckey", "sec", "sk", "hex", "private", "secret",
];
/** @type {[string, string][]} */
const OTHERS = [["npub1", "a public key"], ["nprofile1", "a profile"], ["note1", "a note"]];

/**
 * Read a private key into the 32-byte `out`, or return the ncryptsec that has it, "" if there is none.
 * Throws InvalidInput that says what the text is instead. @param {string} text @param {Uint8Array} out @returns {string}
 */
export function parseKeyText(text, out) {
  if (text.length > MAX_TEXT) throw new InvalidInput(`this is too long for a key; ${WANTED}`);
  const given = bare(text);
  const plain = (given.startsWith("{") ? bare(inJson(given)) : given).toLowerCase().replace(/^nostr:/, "").replace(/^\/\//, "").replace(/^0x/, "");
  if (WORD_COUNTS.includes(plain.split(/\s+/).length)) throw new InvalidInput("these are seed words, which `bunker key import` takes; " + WANTED);
  if (/^[0-9a-f]+$/.test(plain)) {
    if (plain.length !== 64) throw new InvalidInput(`this is hex, but of ${plain.length} characters; ${WANTED}`);
    out.set(fromHex(plain));
    return "";
  }
  for (const [name, what] of OTHERS) if (plain.startsWith(name)) throw new InvalidInput(`this is ${what} (${name.slice(0, -1)}); ${WANTED}`);
  if (plain.startsWith("bunker:")) throw new InvalidInput(`this is a bunker URI, which has no key in it; ${WANTED}`);
  const [kind] = plain.split("1", 1);
  if (kind !== "nsec" && kind !== "ncryptsec") throw new InvalidInput(`this is no private key; ${WANTED}`);
  let data;
  try {
    ({ data } = decodeBech32(plain));
  } catch {
    throw new InvalidInput(`${kind}: bech32 checksum does not match: a character is wrong or missing`);
  }
  if (kind === "ncryptsec") return plain;
  if (data.length !== 32) throw new InvalidInput("nsec does not hold 32 bytes");
  out.set(data);
  data.fill(0);
  return "";
}

/** Write a private key into `out`, the `passphrase` being that of an ncryptsec. Throws InvalidInput. @param {string} text @param {string} passphrase @param {Uint8Array} out */
export async function readKey(text, passphrase, out) {
  const encrypted = parseKeyText(text, out);
  if (!encrypted) return;
  if (!passphrase) throw new InvalidInput("an ncryptsec needs its passphrase");
  try {
    await nip49.decrypt(encrypted, passphrase, out);
  } catch (error) {
    if (error instanceof CryptoError) throw new InvalidInput("this is not the passphrase of this ncryptsec");
    throw error;
  }
}

/** Tell whether a text has to be decrypted, by a passphrase of its own. @param {string} text */
export const isEncrypted = (text) => /ncryptsec1/i.test(text);

/** @param {string} text without what stands round it */
const bare = (text) => text.trim().replace(QUOTES, "").trim();

/** @param {string} text */
function inJson(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new InvalidInput(`this begins like JSON and is none; ${WANTED}`);
  }
  const name = FIELDS.find((field) => typeof value[field] === "string" && value[field]);
  if (!name) throw new InvalidInput(`this JSON has no private key under a name that is known; ${WANTED}`);
  return String(value[name]);
}
