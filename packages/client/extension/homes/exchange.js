/**
 * Bytes that one of our pages hands to the background, encrypted on the way.
 *
 * A message is text that the browser copies from process to process, and nobody wipes: what opens a
 * key for good must not be in one. The background has a key pair for as long as it runs, the page
 * one for each message (ECDH over P-256, AES-256-GCM).
 */

import { fromHex, isHex, toHex } from "../../../phone/web/bytes.js";
import { NSEError } from "../../../phone/web/errors.js";

const CURVE = { name: "ECDH", namedCurve: "P-256" };
const POINT = 130; // hex characters, uncompressed
const SEALED = 96; // hex characters: 32 bytes and the tag
const CIPHER = { name: "AES-GCM", iv: new Uint8Array(12) }; // fixed nonce: each key is used once

/** 32 bytes, encrypted. @typedef {{ from: string, sealed: string }} Handed `from` is the page's public key */

/** The background's end. */
export class Exchange {
  /** @type {Promise<CryptoKeyPair> | null} */
  #pair = null;

  /** Return the public key that `hand` needs. */
  async address() {
    return exported((await this.#own()).publicKey);
  }

  /** Return what was handed over, which the caller wipes; throws NSEError. @param {unknown} handed */
  async open(handed) {
    const { from, sealed } = /** @type {Partial<Handed>} */ (handed ?? {});
    try {
      if (!isHex(from, POINT) || !isHex(sealed, SEALED)) throw new Error();
      const key = await agreed((await this.#own()).privateKey, String(from), "decrypt");
      return new Uint8Array(await crypto.subtle.decrypt(CIPHER, key, fromHex(String(sealed))));
    } catch {
      throw new NSEError("what the passkey derived did not arrive: try again", "wrong");
    }
  }

  #own() {
    this.#pair ??= pair();
    return this.#pair;
  }
}

/** Encrypt 32 bytes for the background; the caller wipes them. @param {string} address @param {Uint8Array} bytes @returns {Promise<Handed>} */
export async function hand(address, bytes) {
  const { publicKey, privateKey } = await pair();
  const key = await agreed(privateKey, address, "encrypt");
  const sealed = await crypto.subtle.encrypt(CIPHER, key, /** @type {Uint8Array<ArrayBuffer>} */ (bytes));
  return { from: await exported(publicKey), sealed: toHex(new Uint8Array(sealed)) };
}

const pair = () => /** @type {Promise<CryptoKeyPair>} */ (crypto.subtle.generateKey(CURVE, false, ["deriveKey"]));

/** @param {CryptoKey} key */
const exported = async (key) => toHex(new Uint8Array(await crypto.subtle.exportKey("raw", key)));

/** @param {CryptoKey} own @param {string} other @param {KeyUsage} usage */
async function agreed(own, other, usage) {
  const point = await crypto.subtle.importKey("raw", fromHex(other), CURVE, false, []);
  return crypto.subtle.deriveKey({ name: "ECDH", public: point }, own, { name: "AES-GCM", length: 256 }, false, [usage]);
}
