/** NIP-04: AES-256-CBC under the bare ECDH x. Deprecated; old clients still need it. */

import { fromBase64, random, text, toBase64, utf8 } from "../bytes.js";
import { CryptoError } from "../errors.js";

const MAX_PAYLOAD = 24 * 1024 * 1024;

/** Tell NIP-04 from NIP-44: only the former has an `?iv=`. @param {string} payload */
export const isPayload = (payload) => payload.includes("?iv=");

/** Return `base64?iv=base64`. @param {string} plaintext @param {import("../bytes.js").Bytes} sharedX @param {import("../bytes.js").Bytes} iv */
export async function encrypt(plaintext, sharedX, iv = random(16)) {
  if (/** @type {any} */ (plaintext).isWellFormed?.() === false) throw new CryptoError();
  const key = await crypto.subtle.importKey("raw", sharedX, "AES-CBC", false, ["encrypt"]);
  const ciphertext = await crypto.subtle.encrypt({ name: "AES-CBC", iv }, key, utf8(plaintext));
  return `${toBase64(new Uint8Array(ciphertext))}?iv=${toBase64(iv)}`;
}

/** Return the plaintext; throws CryptoError. @param {string} payload @param {import("../bytes.js").Bytes} sharedX */
export async function decrypt(payload, sharedX) {
  if (payload.length > MAX_PAYLOAD) throw new CryptoError();
  const [ciphertext, iv, more] = payload.split("?iv=");
  if (iv === undefined || more !== undefined) throw new CryptoError();
  try {
    const key = await crypto.subtle.importKey("raw", sharedX, "AES-CBC", false, ["decrypt"]);
    const plaintext = await crypto.subtle.decrypt({ name: "AES-CBC", iv: fromBase64(iv) }, key, fromBase64(ciphertext));
    return text(new Uint8Array(plaintext));
  } catch {
    throw new CryptoError();
  }
}
