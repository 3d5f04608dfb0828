/**
 * A key that is sealed in the extension itself: the phone's vault, in the browser's background.
 *
 * Locked, nothing of it is here but the sealed text. Unlocked, its data key is, until the time is
 * over; the private key is there for one operation and wiped. No page of ours ever holds it.
 */

import { toHex, unmoved, wipe } from "../../../phone/web/bytes.js";
import { BunkerError, NSEError } from "../../../phone/web/errors.js";
import { signEvent } from "../../../phone/web/nips/event.js";
import { readKey } from "../../../phone/web/nips/key_text.js";
import { Passphrase } from "../../../phone/web/nse/passphrase.js";
import { seal, Vault } from "../../../phone/web/nse/vault.js";
import { newSecret } from "../../../phone/web/secp256k1.js";
import { TokenBucket } from "../../../phone/web/signer/limits.js";
import { Exchange } from "./exchange.js";
import { AskedPasskey, passkeySlot } from "./passkey.js";
import { Places } from "./places.js";

const SHORTEST = 12; // characters of a passphrase
const ATTEMPTS = [0.2, 5]; // wrong unlocks a second, and in a row
const AT_ONCE = 4; // operations under way
const MAX_WAITING = 2048; // of one site

/** @typedef {import("../background/call.js").Operation} Operation */
/** @typedef {import("../../../phone/web/secp256k1.js").Secp256k1} Secp256k1 */
/** @typedef {import("./exchange.js").Handed & { params: import("../../../phone/web/nse/blob.js").Params }} AskedInPage */
/** What one of our pages got from a person. @typedef {{ passphrase?: string, passkey?: AskedInPage }} Opener */

export class SealedKeys {
  /** @type {Map<string, Vault>} */
  #vaults = new Map();
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #timers = new Map();
  #attempts = new TokenBucket(ATTEMPTS[0], ATTEMPTS[1]);
  #places = new Places(AT_ONCE, MAX_WAITING);
  exchange = new Exchange();

  /** @param {{ awake: (change: number) => void }} on a browser that ends us would lock the key */
  constructor(on) {
    this.on = on;
  }

  /** @param {string} id */
  locked(id) {
    return this.#vaults.get(id)?.locked ?? true;
  }

  /** Have the key for some minutes; throws NSEError. @param {Secp256k1} curve @param {string} id @param {string} blob @param {Opener} opener @param {number} minutes */
  async unlock(curve, id, blob, opener, minutes) {
    const vault = new Vault(curve, blob, () => Date.now());
    const protector = opener.passkey ? await this.#asked(opener.passkey) : protectorOf(opener);
    try {
      if (!this.#attempts.take(Date.now() / 1000)) throw new NSEError("too many attempts: wait some seconds", "locked");
      await vault.unlock(protector, minutes * 60);
      this.#attempts = new TokenBucket(ATTEMPTS[0], ATTEMPTS[1]);
    } finally {
      protector.close();
    }
    this.lock(id);
    this.#vaults.set(id, vault);
    this.on.awake(1);
    this.#timers.set(id, setTimeout(() => this.lock(id), minutes * 60_000));
  }

  /** Return the blob with a passkey's slot; the passphrase proves the owner, and opens the key. Throws NSEError. @param {Secp256k1} curve @param {string} id @param {string} blob @param {Opener} opener @param {number} minutes @param {AskedInPage} passkey */
  async addPasskey(curve, id, blob, { passphrase }, minutes, passkey) {
    if (passkeySlot(blob)) throw new NSEError("this key has a passkey already: remove it first", "unavailable");
    await this.unlock(curve, id, blob, { passphrase }, minutes);
    const protector = await this.#asked(passkey);
    try {
      return await this.#vault(id).addSlot(protector);
    } finally {
      protector.close();
    }
  }

  /** Return the blob without its passkey's slot; the passphrase proves the owner. Throws NSEError. @param {Secp256k1} curve @param {string} id @param {string} blob @param {Opener} opener @param {number} minutes */
  async removePasskey(curve, id, blob, { passphrase }, minutes) {
    const slot = passkeySlot(blob);
    if (!slot) throw new NSEError("this key has no passkey", "unavailable");
    await this.unlock(curve, id, blob, { passphrase }, minutes);
    return this.#vault(id).removeSlot(slot.id);
  }

  /** @param {AskedInPage} passkey */
  async #asked(passkey) {
    return new AskedPasskey(passkey.params, await this.exchange.open(passkey));
  }

  /** Wipe what opens a key. @param {string} id */
  lock(id) {
    this.#vaults.get(id)?.lock();
    if (!this.#vaults.delete(id)) return;
    clearTimeout(this.#timers.get(id));
    this.#timers.delete(id);
    this.on.awake(-1);
  }

  lockAll() {
    for (const id of [...this.#vaults.keys()]) this.lock(id);
  }

  /** Do what a site was granted, when it is its turn; throws BunkerError. @param {string} site @param {string} id @param {Operation} operation @param {() => boolean} [still] @returns {Promise<any>} */
  perform(site, id, { action, template, text }, still) {
    return this.#places.run(site, async () => {
      const vault = this.#vault(id);
      if (template) return signEvent(template, { pubkey: vault.pubkey, sign: (message) => vault.sign(message) });
      return vault.crypt(action.method, action.peer ?? "", text);
    }, still);
  }

  /** @param {string} id */
  #vault(id) {
    const vault = this.#vaults.get(id);
    if (!vault || vault.locked) throw new NSEError("locked: the key is locked", "locked");
    return vault;
  }
}

/** Make a key, or take the one that is given, and seal it. Throws BunkerError. @param {Secp256k1} curve @param {{ key: string, keyPassphrase: string }} given `key`: "" for a new one @param {Opener} opener @param {number} now Unix seconds */
export async function sealKey(curve, { key, keyPassphrase }, opener, now) {
  const secret = unmoved(32);
  const protector = protectorOf(opener, true);
  try {
    if (key) await readKey(key, keyPassphrase, secret);
    else newSecret(secret);
    const pubkey = toHex(curve.pubkey(secret)); // in range
    return { pubkey, blob: await seal(curve, secret, [protector], now) };
  } finally {
    wipe(secret);
    protector.close();
  }
}

/** Return the recovery copy (NIP-49), under a passphrase of its own; throws NSEError. @param {Secp256k1} curve @param {string} blob @param {Opener} opener @param {string} passphrase */
export async function recoveryCopy(curve, blob, opener, passphrase) {
  checkLength(passphrase);
  const vault = new Vault(curve, blob, () => Date.now());
  const protector = protectorOf(opener);
  try {
    await vault.unlock(protector, 60);
    return await vault.recoveryCopy(passphrase);
  } finally {
    vault.lock();
    protector.close();
  }
}

/** @param {Opener} opener @param {boolean} fresh a new passphrase is not a short one */
function protectorOf({ passphrase = "" }, fresh = false) {
  if (fresh) checkLength(passphrase);
  return new Passphrase(passphrase);
}

/** @param {string} passphrase */
function checkLength(passphrase) {
  if ([...passphrase].length < SHORTEST) throw new BunkerError(`a passphrase has ${SHORTEST} characters or more`);
}
