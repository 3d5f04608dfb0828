/**
 * NIP-44 version 2: authenticated encryption between two keys, with the 2026 length prefix.
 *
 * A payload is base64 of: 1 version byte, 32-byte nonce, ChaCha20 ciphertext, 32-byte HMAC-SHA256.
 * All failures of decryption throw the same CryptoError.
 */

import { chacha20 } from "@noble/ciphers/chacha.js";
import { expand, extract } from "@noble/hashes/hkdf.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { concat, fromBase64, random, same, text, toBase64, utf8, wipe } from "../bytes.js";
import { CryptoError } from "../errors.js";

const VERSION = 2;
const SALT = utf8("nip44-v2");
export const MAX_PLAINTEXT = 16 * 1024 * 1024;
export const MAX_PAYLOAD = 24 * 1024 * 1024;
const EXTENDED_FROM = 65536;
const MIN_PAYLOAD = 132;
const MIN_DATA = 99;

/** Return the 32-byte key of a pair of users from their ECDH x. @param {Uint8Array} sharedX */
export const conversationKey = (sharedX) => extract(sha256, sharedX, SALT);

/** Return the 76 bytes of message keys for a nonce. @param {Uint8Array} key @param {Uint8Array} nonce */
export function messageKeys(key, nonce) {
  if (key.length !== 32 || nonce.length !== 32) throw new CryptoError();
  return expand(sha256, key, nonce, 76);
}

/** Return the payload of `plaintext`; `nonce` is fresh unless given (test vectors). @param {string} plaintext @param {Uint8Array} key @param {Uint8Array} nonce */
export function encrypt(plaintext, key, nonce = random(32)) {
  if (/** @type {any} */ (plaintext).isWellFormed?.() === false) throw new CryptoError();
  const padded = pad(utf8(plaintext));
  const keys = messageKeys(key, nonce);
  const ciphertext = chacha20(keys.subarray(0, 32), keys.subarray(32, 44), padded);
  const mac = hmac(sha256, keys.subarray(44), concat(nonce, ciphertext));
  wipe(keys, padded);
  return toBase64(concat(new Uint8Array([VERSION]), nonce, ciphertext, mac));
}

/** Return the plaintext of `payload`; throws CryptoError. @param {string} payload @param {Uint8Array} key */
export function decrypt(payload, key) {
  const { nonce, ciphertext, mac } = decode(payload);
  const keys = messageKeys(key, nonce);
  try {
    if (!same(hmac(sha256, keys.subarray(44), concat(nonce, ciphertext)), mac)) throw new CryptoError();
    const padded = chacha20(keys.subarray(0, 32), keys.subarray(32, 44), ciphertext);
    try {
      return text(unpad(padded));
    } catch {
      throw new CryptoError();
    } finally {
      wipe(padded);
    }
  } finally {
    wipe(keys);
  }
}

/** Return how many bytes a plaintext takes after padding. @param {number} length */
export function paddedLength(length) {
  if (length <= 32) return 32;
  const nextPower = 2 ** (32 - Math.clz32(length - 1));
  const chunk = nextPower <= 256 ? 32 : nextPower / 8;
  return chunk * (Math.floor((length - 1) / chunk) + 1);
}

/** @param {Uint8Array} plaintext */
function pad(plaintext) {
  const length = plaintext.length;
  if (length < 1 || length > MAX_PLAINTEXT) throw new CryptoError();
  const head = length < EXTENDED_FROM ? 2 : 6;
  const out = new Uint8Array(head + paddedLength(length));
  const view = new DataView(out.buffer);
  if (head === 2) view.setUint16(0, length);
  else view.setUint32(2, length);
  out.set(plaintext, head);
  return out;
}

/** @param {Uint8Array} padded */
function unpad(padded) {
  const view = new DataView(padded.buffer, padded.byteOffset, padded.length);
  let head = 2;
  let length = view.getUint16(0);
  if (length === 0) {
    head = 6; // no plaintext is empty, so a zero announces the extended prefix
    length = padded.length < 6 ? 0 : view.getUint32(2);
    if (length < EXTENDED_FROM) throw new CryptoError();
  }
  if (padded.length !== head + paddedLength(length)) throw new CryptoError();
  return padded.subarray(head, head + length);
}

/** @param {string} payload */
function decode(payload) {
  if (payload.length < MIN_PAYLOAD || payload.length > MAX_PAYLOAD || payload[0] === "#") throw new CryptoError();
  let data;
  try {
    data = fromBase64(payload);
  } catch {
    throw new CryptoError();
  }
  if (data.length < MIN_DATA || data[0] !== VERSION) throw new CryptoError();
  return { nonce: data.subarray(1, 33), ciphertext: data.subarray(33, -32), mac: data.subarray(-32) };
}
