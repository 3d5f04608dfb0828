/** Bytes and texts: hex, base64, UTF-8, comparing, wiping. */

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @typedef {Uint8Array<ArrayBuffer>} Bytes */

/** Return the UTF-8 of a text. @param {string} text @returns {Bytes} */
export const utf8 = (text) => /** @type {Bytes} */ (encoder.encode(text));

/** Return the text of UTF-8 bytes; throws TypeError. @param {Uint8Array} data */
export const text = (data) => decoder.decode(data);

/** Return lower-case hex. @param {Uint8Array} data */
export function toHex(data) {
  let out = "";
  for (const byte of data) out += byte.toString(16).padStart(2, "0");
  return out;
}

/** Tell whether `value` is `length` lower-case hex characters. @param {unknown} value @param {number} length */
export const isHex = (value, length) =>
  typeof value === "string" && value.length === length && /^[0-9a-f]*$/.test(value);

/** Return the bytes of lower-case hex; throws TypeError. @param {string} hex @returns {Bytes} */
export function fromHex(hex) {
  if (!isHex(hex, hex.length) || hex.length % 2) throw new TypeError("not hexadecimal");
  const out = new Uint8Array(hex.length / 2);
  for (let i = 0; i < out.length; i++) out[i] = parseInt(hex.slice(2 * i, 2 * i + 2), 16);
  return out;
}

/** Return standard base64. @param {Uint8Array} data */
export function toBase64(data) {
  let binary = "";
  for (let i = 0; i < data.length; i += 0x8000) {
    binary += String.fromCharCode(...data.subarray(i, i + 0x8000));
  }
  return btoa(binary);
}

/** Return the bytes of canonical base64; throws TypeError. @param {string} value @returns {Bytes} */
export function fromBase64(value) {
  if (value.length % 4 || !/^[A-Za-z0-9+/]*={0,2}$/.test(value)) throw new TypeError("not base64");
  const binary = atob(value);
  const out = new Uint8Array(binary.length);
  for (let i = 0; i < out.length; i++) out[i] = binary.charCodeAt(i);
  return out;
}

/** @param {Uint8Array} data */
export const toBase64Url = (data) =>
  toBase64(data).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

/** @param {string} value @returns {Bytes} */
export function fromBase64Url(value) {
  const plain = value.replaceAll("-", "+").replaceAll("_", "/");
  return fromBase64(plain + "=".repeat((4 - (plain.length % 4)) % 4));
}

/** @param {...Uint8Array} parts @returns {Bytes} */
export function concat(...parts) {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** Return fresh random bytes. @param {number} length @returns {Bytes} */
export const random = (length) => crypto.getRandomValues(new Uint8Array(length));

const OUTSIDE = 256; // bytes: a buffer of so many lies outside of every browser's heap

/**
 * Return a buffer for a secret. A typed array of 64 bytes or fewer, in Firefox also an ArrayBuffer of
 * up to 96, lies in the heap, where a garbage collection, or its first use by WebCrypto, moves it and
 * leaves a copy; a larger one never moves.
 * @param {number} length @returns {Bytes}
 */
export const unmoved = (length) => new Uint8Array(new ArrayBuffer(Math.max(length, OUTSIDE)), 0, length);

/** Take a secret out of a buffer that WebCrypto made, which is wiped. @param {ArrayBuffer} buffer */
export function takeSecret(buffer) {
  const made = new Uint8Array(buffer);
  const secret = unmoved(made.length);
  secret.set(made);
  wipe(made);
  return secret;
}

/** Overwrite every buffer with zeros. @param {...(Uint8Array | null | undefined)} buffers */
export function wipe(...buffers) {
  for (const buffer of buffers) buffer?.fill(0);
}

/** Compare without telling by time where two of one length differ. @param {Uint8Array} a @param {Uint8Array} b */
export function same(a, b) {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a[i] ^ b[i];
  return difference === 0;
}

/** JSON with sorted keys and no spaces, as the sealed key and the audit log are hashed. @param {unknown} value @returns {string} */
export function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (value !== null && typeof value === "object") {
    const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${fields.map(([key, item]) => `${JSON.stringify(key)}:${canonical(item)}`).join(",")}}`;
  }
  return JSON.stringify(value);
}
