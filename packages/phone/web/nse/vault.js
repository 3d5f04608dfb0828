/**
 * The lock on the vault: a key is decrypted for one operation and wiped.
 *
 * Locked, nothing is here. Unlocked, the data key is, for as long as the owner said; the private
 * key is there from `#open` to its `finally` and in no other place of this page.
 */

import { fromBase64, fromHex, random, takeSecret, toBase64, toHex, unmoved, wipe } from "../bytes.js";
import { NSEError } from "../errors.js";
import * as nip04 from "../nips/nip04.js";
import { encodeNpub } from "../nips/nip19.js";
import * as nip44 from "../nips/nip44.js";
import * as nip44v3 from "../nips/nip44v3.js";
import * as nip49 from "../nips/nip49.js";
import { blobText, keyAad, macAad, MAX_SLOTS, parseBlob, slotAad } from "./blob.js";

/** @typedef {import("../bytes.js").Bytes} Bytes */
/** @typedef {import("./blob.js").Blob} Blob */
/** @typedef {import("./blob.js").Slot} Slot */
/** @typedef {import("./passphrase.js").Protector} Protector */

/** Seal `secret` for `protectors`; returns the blob's text. The caller wipes `secret`. @param {import("../secp256k1.js").Secp256k1} curve @param {Uint8Array} secret @param {Protector[]} protectors @param {number} now Unix seconds */
export async function seal(curve, secret, protectors, now) {
  const pubkey = toHex(curve.pubkey(secret));
  const dataKey = crypto.getRandomValues(unmoved(32));
  try {
    const slots = [];
    for (const [index, protector] of protectors.entries()) slots.push(await newSlot(dataKey, pubkey, `k${index + 1}`, protector));
    return await sealed(dataKey, secret, {
      version: 2, ciphertext: "", iv: "", pubkey, npub: encodeNpub(pubkey), created_at: now,
      hardware_backed: slots.every((slot) => slot.hw), gen: 1, slots, mac: "",
    });
  } finally {
    wipe(dataKey);
  }
}

/** One sealed key. */
export class Vault {
  #curve;
  #blob;
  /** @type {Bytes | null} */
  #dataKey = null;
  /** @type {CryptoKey | null} the same for WebCrypto: one object, as its copies are nobody's to wipe */
  #aes = null;
  /** @type {number} milliseconds, of the same clock as `now` */
  #until = 0;

  /** @param {import("../secp256k1.js").Secp256k1} curve @param {string} text @param {() => number} now */
  constructor(curve, text, now = () => performance.now()) {
    this.#curve = curve;
    this.#blob = parseBlob(text);
    this.now = now;
  }

  get pubkey() {
    return this.#blob.pubkey;
  }

  get slots() {
    return this.#blob.slots.map(({ id, type, bound }) => ({ id, type, bound }));
  }

  get text() {
    return blobText(this.#blob);
  }

  get locked() {
    if (this.#dataKey !== null && this.now() >= this.#until) this.lock();
    return this.#dataKey === null;
  }

  /** Have the data key for `seconds`; throws NSEError. @param {Protector} protector @param {number} seconds */
  async unlock(protector, seconds) {
    const dataKey = await this.#openDataKey(protector);
    const aes = await aesKey(dataKey, "decrypt");
    wipe(this.#dataKey);
    this.#dataKey = dataKey;
    this.#aes = aes;
    this.#until = this.now() + seconds * 1000;
  }

  /** Wipe the data key. */
  lock() {
    wipe(this.#dataKey);
    this.#dataKey = null;
    this.#aes = null;
  }

  /** Return a checked BIP-340 signature. @param {Uint8Array} message 32 bytes */
  sign(message) {
    return this.#open((secret) => this.#curve.sign(secret, message));
  }

  /** Do one of NIP-46's four, or of version 3's two with its kind and scope; throws CryptoError, InvalidInput. @param {string} method @param {string} peer @param {string} value @param {[number, string] | null} [context] @returns {Promise<string>} */
  crypt(method, peer, value, context) {
    return this.#open(async (secret) => {
      const shared = this.#curve.sharedX(secret, fromHex(peer));
      try {
        if (method === "nip04_encrypt") return await nip04.encrypt(value, shared);
        if (method === "nip04_decrypt") return await nip04.decrypt(value, shared);
        const [kind, scope] = context ?? [0, ""];
        if (method === "nip44v3_encrypt") return nip44v3.encrypt(fromBase64(value), shared, kind, scope);
        if (method === "nip44v3_decrypt") return toBase64(nip44v3.decrypt(value, shared, kind, scope));
        const key = nip44.conversationKey(shared);
        try {
          return method === "nip44_encrypt" ? nip44.encrypt(value, key) : nip44.decrypt(value, key);
        } finally {
          wipe(key);
        }
      } finally {
        wipe(shared);
      }
    });
  }

  /** Return the recovery copy (NIP-49). @param {string} passphrase */
  recoveryCopy(passphrase) {
    return this.#open((secret) => nip49.encrypt(secret, passphrase));
  }

  /** Return the blob's text with one more slot; it replaces this one's. Needs the data key. @param {Protector} protector */
  async addSlot(protector) {
    if (this.locked || !this.#dataKey) throw new NSEError("the key is locked", "locked");
    if (this.#blob.slots.length >= MAX_SLOTS) throw new NSEError(`the key has ${MAX_SLOTS} slots already`, "unavailable");
    const dataKey = this.#dataKey;
    let number = 1;
    while (this.#blob.slots.some((slot) => slot.id === `k${number}`)) number++;
    const slot = await newSlot(dataKey, this.pubkey, `k${number}`, protector);
    return this.#withSlots([...this.#blob.slots, slot]);
  }

  /** Return the blob's text with one slot less; it replaces this one's. Needs the data key. The last slot stays, and the last that outlives a device. @param {string} id */
  async removeSlot(id) {
    const slots = this.#blob.slots.filter((slot) => slot.id !== id);
    if (slots.length === this.#blob.slots.length) throw new NSEError(`the key has no slot ${id}`, "unavailable");
    if (slots.every((slot) => slot.bound)) throw new NSEError("the last slot that outlives a device can't be removed", "unavailable");
    return this.#withSlots(slots);
  }

  /** @param {Slot[]} slots */
  async #withSlots(slots) {
    const dataKey = this.#dataKey;
    const text = await this.#open((secret) =>
      sealed(/** @type {Bytes} */ (dataKey), secret, { ...this.#blob, slots, hardware_backed: slots.every((item) => item.hw) }),
    );
    this.#blob = parseBlob(text);
    return text;
  }

  /** @template T @param {(secret: Bytes) => T | Promise<T>} operation @returns {Promise<T>} */
  async #open(operation) {
    if (this.locked || !this.#aes) throw new NSEError("the key is locked", "locked");
    const secret = await openWith(this.#aes, this.#blob.iv, this.#blob.ciphertext, keyAad(this.#blob));
    try {
      if (toHex(this.#curve.pubkey(secret)) !== this.#blob.pubkey) {
        throw new NSEError("sealed key is not the one of its public key: the file was changed", "damaged");
      }
      return await operation(secret);
    } finally {
      wipe(secret);
    }
  }

  /** @param {Protector} protector */
  async #openDataKey(protector) {
    const slots = this.#blob.slots.filter((slot) => slot.type === protector.type);
    if (!slots.length) throw new NSEError(`the key has no slot of type ${protector.type}`, "unavailable");
    /** @type {unknown} */
    let failure;
    for (const slot of slots) {
      try {
        const dataKey = await openSlot(slot, this.pubkey, protector);
        await checkMac(dataKey, this.#blob);
        return dataKey;
      } catch (error) {
        failure ??= error;
      }
    }
    throw failure;
  }
}

/** Wrap the data key, and open the slot again before it is relied on. @param {Bytes} dataKey @param {string} pubkey @param {string} id @param {Protector} protector @returns {Promise<Slot>} */
async function newSlot(dataKey, pubkey, id, protector) {
  const { params, key } = await protector.create(pubkey);
  const slot = { id, type: protector.type, hw: protector.hw, bound: protector.bound, params, iv: toHex(random(12)), ct: "" };
  try {
    slot.ct = await encrypt(key, slot.iv, dataKey, slotAad(slot, pubkey));
    wipe(await open(key, slot.iv, slot.ct, slotAad(slot, pubkey)));
  } finally {
    wipe(key);
  }
  return slot;
}

/** @param {Slot} slot @param {string} pubkey @param {Protector} protector */
async function openSlot(slot, pubkey, protector) {
  const key = await protector.recover(slot.params, pubkey);
  try {
    return await open(key, slot.iv, slot.ct, slotAad(slot, pubkey));
  } catch {
    throw new NSEError(`slot ${slot.id} does not open: wrong ${protector.type === "passphrase" ? "passphrase" : "key"}, or the file was changed`, "wrong");
  } finally {
    wipe(key);
  }
}

/** @param {Bytes} dataKey @param {Uint8Array} secret @param {Blob} blob */
async function sealed(dataKey, secret, blob) {
  const iv = toHex(random(12));
  const whole = { ...blob, iv, ciphertext: await encrypt(dataKey, iv, secret, keyAad(blob)) };
  const macIv = toHex(random(12));
  const mac = macIv + (await encrypt(dataKey, macIv, new Uint8Array(0), macAad(whole)));
  return blobText({ ...whole, mac });
}

/** @param {Bytes} dataKey @param {Blob} blob */
async function checkMac(dataKey, blob) {
  try {
    await open(dataKey, blob.mac.slice(0, 24), blob.mac.slice(24), macAad(blob));
  } catch {
    wipe(dataKey);
    throw new NSEError("stored key was changed: its slots are not those that were written", "damaged");
  }
}

/** @param {Uint8Array} key @param {string} iv @param {Uint8Array} secret @param {Bytes} additionalData */
async function encrypt(key, iv, secret, additionalData) {
  const aes = await aesKey(key, "encrypt");
  const ciphertext = await crypto.subtle.encrypt({ name: "AES-GCM", iv: fromHex(iv), additionalData }, aes, /** @type {Bytes} */ (secret));
  return toHex(new Uint8Array(ciphertext));
}

/** @param {Uint8Array} key @param {string} iv @param {string} ciphertext @param {Bytes} additionalData @returns {Promise<Bytes>} */
const open = async (key, iv, ciphertext, additionalData) => openWith(await aesKey(key, "decrypt"), iv, ciphertext, additionalData);

/** @param {CryptoKey} aes @param {string} iv @param {string} ciphertext @param {Bytes} additionalData @returns {Promise<Bytes>} */
async function openWith(aes, iv, ciphertext, additionalData) {
  try {
    return takeSecret(await crypto.subtle.decrypt({ name: "AES-GCM", iv: fromHex(iv), additionalData }, aes, fromHex(ciphertext)));
  } catch {
    throw new NSEError("sealed key can't be opened: wrong key, or the file was changed", "wrong");
  }
}

/** @param {Uint8Array} key @param {KeyUsage} usage */
const aesKey = (key, usage) => crypto.subtle.importKey("raw", /** @type {Bytes} */ (key), "AES-GCM", false, [usage]);
