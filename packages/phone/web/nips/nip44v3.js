/**
 * NIP-44 version 3, a draft: payloads that are bound to the kind and the scope they are meant for.
 *
 * A payload is base64 of: 1 version byte, 32-byte nonce, 32-byte HMAC-SHA256, kind as u32, length of
 * the scope as u32, scope, ChaCha20 ciphertext; integers are big-endian. Held to the same vectors as
 * bunker_core.nips.nip44v3, where more is said. All failures of decryption throw the same CryptoError.
 */

import { chacha20 } from "@noble/ciphers/chacha.js";
import { hkdf } from "@noble/hashes/hkdf.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { concat, fromBase64, random, same, toBase64, utf8, wipe } from "../bytes.js";
import { CryptoError } from "../errors.js";
import { MAX_PAYLOAD, MAX_PLAINTEXT } from "./nip44.js";

const VERSION = 3;
const MAX_KIND = 2 ** 31 - 1; // Amber's integers are signed
export const MAX_SCOPE = 1024; // bytes of UTF-8; the draft names no bound
const MIN_DATA = 77;
const LARGE_FROM = 32768; // bytes; from here on the padding is finer
const LEAST = 32;

/** Return the payload of `plaintext` for a kind and a scope; `nonce` is fresh unless given (test vectors). @param {Uint8Array} plaintext @param {Uint8Array} sharedX @param {number} kind @param {string} scope @param {Uint8Array} nonce */
export function encrypt(plaintext, sharedX, kind, scope, nonce = random(32)) {
  const head = context(kind, scope);
  if (plaintext.length > MAX_PLAINTEXT || nonce.length !== 32) throw new CryptoError();
  const padded = new Uint8Array(paddedLength(4 + plaintext.length));
  new DataView(padded.buffer).setUint32(0, plaintext.length);
  padded.set(plaintext, 4);
  const keys = messageKeys(sharedX, nonce);
  try {
    const ciphertext = chacha20(keys.cipher, new Uint8Array(12), padded);
    const mac = hmac(sha256, keys.mac, concat(nonce, head, ciphertext));
    return toBase64(concat(new Uint8Array([VERSION]), nonce, mac, head, ciphertext));
  } finally {
    wipe(keys.cipher, keys.mac, padded);
  }
}

/** Return the plaintext of `payload`, if it is meant for this kind and scope; throws CryptoError. @param {string} payload @param {Uint8Array} sharedX @param {number} kind @param {string} scope */
export function decrypt(payload, sharedX, kind, scope) {
  const data = decode(payload);
  const head = context(kind, scope);
  const [nonce, mac, rest] = [data.subarray(1, 33), data.subarray(33, 65), data.subarray(65)];
  // Kind and scope are in the clear, so that this tells apart is no oracle.
  if (rest.length < head.length + 4 || !same(rest.subarray(0, head.length), head)) throw new CryptoError();
  const keys = messageKeys(sharedX, nonce);
  try {
    if (!same(hmac(sha256, keys.mac, concat(nonce, rest)), mac)) throw new CryptoError();
    return unpad(chacha20(keys.cipher, new Uint8Array(12), rest.subarray(head.length)));
  } finally {
    wipe(keys.cipher, keys.mac);
  }
}

/** Return the two keys of a nonce: each is used once, so ChaCha20's own nonce is zeros. @param {Uint8Array} sharedX @param {Uint8Array} nonce */
export function messageKeys(sharedX, nonce) {
  const salt = concat(utf8("nip44-v3\0"), nonce);
  return {
    cipher: hkdf(sha256, sharedX, salt, utf8("encryption_key"), 32),
    mac: hkdf(sha256, sharedX, salt, utf8("mac_key"), 32),
  };
}

/** Return how many bytes `length` bytes, their 4-byte prefix among them, take after padding. @param {number} length */
export function paddedLength(length) {
  if (length <= 0) return LEAST;
  const nextPower = 2 ** (32 - Math.clz32(length - 1));
  const chunk = Math.max(LEAST, nextPower / (nextPower >= LARGE_FROM ? 8 : 4));
  return chunk * Math.ceil(length / chunk);
}

/** The draft: no check of the padding's length, but all of it is zero. @param {Uint8Array} padded */
function unpad(padded) {
  const length = new DataView(padded.buffer, padded.byteOffset, padded.length).getUint32(0);
  if (length > padded.length - 4 || padded.subarray(4 + length).some(Boolean)) throw new CryptoError();
  return padded.subarray(4, 4 + length);
}

/** Return what binds a payload to its use. @param {number} kind @param {string} scope */
function context(kind, scope) {
  if (/** @type {any} */ (scope).isWellFormed?.() === false) throw new CryptoError();
  const name = utf8(scope);
  if (!Number.isInteger(kind) || kind < 0 || kind > MAX_KIND || name.length > MAX_SCOPE) throw new CryptoError();
  const numbers = new Uint8Array(8);
  const view = new DataView(numbers.buffer);
  view.setUint32(0, kind);
  view.setUint32(4, name.length);
  return concat(numbers, name);
}

/** @param {string} payload */
function decode(payload) {
  const plain = payload.trim();
  if (!plain || plain.length > MAX_PAYLOAD || plain[0] === "#") throw new CryptoError();
  let data;
  try {
    data = fromBase64(plain);
  } catch {
    throw new CryptoError();
  }
  if (data.length < MIN_DATA || data[0] !== VERSION) throw new CryptoError();
  return data;
}
