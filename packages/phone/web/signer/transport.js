/**
 * The transport key: it carries the requests and answers, and signs nothing else.
 *
 * It lies in this browser's storage as it is, so that the service worker can read what is asked
 * while the user's key stays sealed. Whoever steals it can read and answer as this signer, and can
 * sign nothing as its user.
 */

import { fromHex, toHex, wipe } from "../bytes.js";
import { CryptoError } from "../errors.js";
import { NOSTR_CONNECT, signEvent } from "../nips/event.js";
import * as nip04 from "../nips/nip04.js";
import * as nip44 from "../nips/nip44.js";
import { newSecret } from "../secp256k1.js";

const CHANNELS = 256; // conversation keys that are remembered

/** @typedef {"nip44" | "nip04"} Scheme */

export class Transport {
  #curve;
  #secret;
  /** @type {Map<string, Uint8Array>} */
  #keys = new Map();

  /** @param {import("../secp256k1.js").Secp256k1} curve @param {Uint8Array} secret */
  constructor(curve, secret) {
    this.#curve = curve;
    this.#secret = secret;
    this.pubkey = toHex(curve.pubkey(secret));
  }

  /** Take the key out of the storage, or make it. @param {import("../secp256k1.js").Secp256k1} curve @param {import("./database.js").Database} database */
  static async load(curve, database) {
    const secret = await database.write(["settings"], async (tx) => {
      const known = await tx.setting("transport");
      if (known) return /** @type {Uint8Array} */ (known);
      const made = new Uint8Array(32);
      newSecret(made);
      await tx.set("transport", made);
      return made;
    });
    return new Transport(curve, secret);
  }

  /** @param {Uint8Array} message */
  sign(message) {
    return this.#curve.sign(this.#secret, message);
  }

  /** Return the text in `content` and how it was encrypted; throws CryptoError. @param {string} peer @param {string} content @returns {Promise<{ text: string, scheme: Scheme }>} */
  async open(peer, content) {
    if (nip04.isPayload(content)) return { text: await nip04.decrypt(content, this.#shared(peer)), scheme: "nip04" };
    return { text: nip44.decrypt(content, this.#conversationKey(peer)), scheme: "nip44" };
  }

  /** @param {string} peer @param {string} text @param {Scheme} scheme */
  async seal(peer, text, scheme) {
    if (scheme === "nip04") return nip04.encrypt(text, this.#shared(peer));
    return nip44.encrypt(text, this.#conversationKey(peer));
  }

  /** Return the event that carries `content`; its created_at is never before the request's. @param {string} peer @param {string} content @param {number} now @param {number} notBefore */
  event(peer, content, now, notBefore = 0) {
    return signEvent({ kind: NOSTR_CONNECT, content, tags: [["p", peer]], created_at: Math.max(now, notBefore) }, this);
  }

  /** @param {string} peer */
  #shared(peer) {
    try {
      return this.#curve.sharedX(this.#secret, fromHex(peer));
    } catch {
      throw new CryptoError();
    }
  }

  /** @param {string} peer */
  #conversationKey(peer) {
    let key = this.#keys.get(peer);
    if (!key) {
      const shared = this.#shared(peer);
      key = nip44.conversationKey(shared);
      wipe(shared);
    }
    this.#keys.delete(peer);
    this.#keys.set(peer, key);
    if (this.#keys.size > CHANNELS) this.#keys.delete(/** @type {string} */ (this.#keys.keys().next().value));
    return key;
  }
}
