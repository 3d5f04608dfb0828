/**
 * The only way to a private key: libsecp256k1 as WebAssembly (npm: tiny-secp256k1), run by hand.
 *
 * Every use ends with the memory of the module as it was right after its start, so that no scalar,
 * nonce or spilled register of an operation stays there. A private key is a 32-byte buffer of the
 * caller, who wipes it; it never becomes a BigInt or a text.
 */

import { InvalidInput } from "./errors.js";
import { random, same, unmoved, wipe } from "./bytes.js";

/** @typedef {import("./bytes.js").Bytes} Bytes */
/**
 * @typedef {object} Exports
 * @property {WebAssembly.Memory} memory
 * @property {() => void} initializeContext
 * @property {(length: number) => number} pointFromScalar
 * @property {() => void} xOnlyPointFromScalar
 * @property {(length: number, out: number) => number} pointMultiply
 * @property {(a: number, b: number, out: number) => number} pointAdd
 * @property {() => number} privateSub
 * @property {(extra: number) => void} signSchnorr
 * @property {() => number} verifySchnorr
 */

const ORDER = new Uint8Array([
  0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
  0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
]);

// As long as a private key: copied behind one, it takes its place in the processor's registers.
const NOTHING = new Uint8Array(32);

export class Secp256k1 {
  /** @type {Exports & Record<string, any>} */
  #wasm;
  /** @type {Bytes} */
  #memory;
  /** @type {Bytes} */
  #pristine;

  /** @param {WebAssembly.Instance} instance */
  constructor(instance) {
    this.#wasm = /** @type {any} */ (instance.exports);
    this.#wasm.initializeContext(); // blinded anew at each start
    this.#memory = new Uint8Array(/** @type {ArrayBuffer} */ (this.#wasm.memory.buffer));
    this.#pristine = this.#memory.slice();
  }

  /** Start the module from its bytes. @param {BufferSource} source */
  static async start(source) {
    const { instance } = await WebAssembly.instantiate(source, {
      "./rand.js": { generateInt32: () => new DataView(random(4).buffer).getInt32(0) },
      "./validate_error.js": {
        throwError: () => {
          throw new InvalidInput("not a point or a key of secp256k1");
        },
      },
    });
    return new Secp256k1(instance);
  }

  /** Return the 32-byte x-only pubkey of a private key; throws InvalidInput. @param {Uint8Array} secret */
  pubkey(secret) {
    return this.#use(() => {
      this.#putSecret("PRIVATE_INPUT", checkSecret(secret));
      this.#wasm.xOnlyPointFromScalar();
      return this.#take("X_ONLY_PUBLIC_KEY_INPUT", 32);
    });
  }

  /**
   * Return a BIP-340 signature that was verified before it is released: a fault in the computation
   * could give the key away. @param {Uint8Array} secret @param {Uint8Array} message 32 bytes
   */
  sign(secret, message) {
    const pubkey = this.pubkey(secret);
    const signature = this.#use(() => {
      this.#putSecret("PRIVATE_INPUT", checkSecret(secret));
      this.#put("HASH_INPUT", message);
      this.#put("EXTRA_DATA_INPUT", random(32));
      this.#wasm.signSchnorr(1);
      return this.#take("SIGNATURE_INPUT", 64);
    });
    if (!this.verify(pubkey, message, signature)) throw new InvalidInput("signature did not verify");
    return signature;
  }

  /** Tell whether a BIP-340 signature holds. @param {Uint8Array} pubkey @param {Uint8Array} message @param {Uint8Array} signature */
  verify(pubkey, message, signature) {
    if (pubkey.length !== 32 || message.length !== 32 || signature.length !== 64) return false;
    try {
      return this.#use(() => {
        this.#put("X_ONLY_PUBLIC_KEY_INPUT", pubkey);
        this.#put("HASH_INPUT", message);
        this.#put("SIGNATURE_INPUT", signature);
        return this.#wasm.verifySchnorr() === 1;
      });
    } catch {
      return false; // a pubkey or an r that is no point
    }
  }

  /**
   * Return the ECDH x coordinate with a peer; throws InvalidInput.
   *
   * The module's multiplication takes a time that depends on the scalar. So the key is split in two
   * fresh random shares, key = share + (key - share): neither time says anything about the key.
   * @param {Uint8Array} secret @param {Uint8Array} pubkey x-only, 32 bytes
   */
  sharedX(secret, pubkey) {
    if (pubkey.length !== 32) throw new InvalidInput("not a public key");
    checkSecret(secret);
    return this.#use(() => {
      const share = newScalar();
      try {
        this.#putSecret("PRIVATE_INPUT", secret);
        this.#putSecret("TWEAK_INPUT", share);
        if (this.#wasm.privateSub() !== 1) throw new InvalidInput("not a private key");
        this.#memory.copyWithin(this.#at("TWEAK_INPUT"), this.#at("PRIVATE_INPUT"), this.#at("PRIVATE_INPUT") + 32);
        const first = this.#multiplied(pubkey);
        this.#putSecret("TWEAK_INPUT", share);
        const second = this.#multiplied(pubkey);
        this.#put("PUBLIC_KEY_INPUT", first);
        this.#put("PUBLIC_KEY_INPUT2", second);
        wipe(first, second);
        if (this.#wasm.pointAdd(33, 33, 33) !== 1) throw new InvalidInput("not a public key");
        const point = this.#take("PUBLIC_KEY_INPUT", 33);
        const shared = point.slice(1);
        wipe(point);
        return shared;
      } finally {
        wipe(share);
      }
    });
  }

  /** The pubkey times what is in TWEAK_INPUT. @param {Uint8Array} pubkey */
  #multiplied(pubkey) {
    const point = new Uint8Array(33);
    point[0] = 2; // an x-only key is the point with an even y
    point.set(pubkey, 1);
    this.#put("PUBLIC_KEY_INPUT", point);
    if (this.#wasm.pointMultiply(33, 33) !== 1) throw new InvalidInput("not a public key");
    return this.#take("PUBLIC_KEY_INPUT", 33);
  }

  /** Run one operation and set the memory back, whatever happened. @template T @param {() => T} operation @returns {T} */
  #use(operation) {
    try {
      return operation();
    } finally {
      this.#put("HASH_INPUT", NOTHING);
      this.#memory.set(this.#pristine);
    }
  }

  /** @param {string} name */
  #at(name) {
    return /** @type {number} */ (this.#wasm[name].value);
  }

  /** @param {string} name @param {Uint8Array} value */
  #put(name, value) {
    this.#memory.set(value, this.#at(name));
  }

  /**
   * A copy goes by way of vector registers, and there it stays until the next. When the browser's
   * own sandbox or memory protection raises a signal meanwhile, the kernel writes all of them on a
   * stack that nobody wipes (seen in Firefox). So another copy of that length follows at once.
   * @param {string} name @param {Uint8Array} secret
   */
  #putSecret(name, secret) {
    this.#put(name, secret);
    this.#put("HASH_INPUT", NOTHING);
  }

  /** @param {string} name @param {number} length */
  #take(name, length) {
    return this.#memory.slice(this.#at(name), this.#at(name) + length);
  }
}

/** Write a fresh private key into the 32-byte `out`. @param {Uint8Array} out */
export function newSecret(out) {
  do crypto.getRandomValues(out);
  while (!isSecret(out));
}

/** Tell whether 32 bytes are a private key: from 1 to the order less 1. @param {Uint8Array} value */
export function isSecret(value) {
  if (value.length !== 32 || same(value, new Uint8Array(32))) return false;
  let below = 0; // decided by the first byte that differs, looked at without a branch
  let equal = 1;
  for (let i = 0; i < 32; i++) {
    below |= equal & ((value[i] - ORDER[i]) >>> 31);
    equal &= ((value[i] ^ ORDER[i]) - 1) >>> 31;
  }
  return below === 1;
}

/** @param {Uint8Array} secret */
function checkSecret(secret) {
  if (!isSecret(secret)) throw new InvalidInput("not a private key");
  return secret;
}

function newScalar() {
  const out = unmoved(32);
  newSecret(out);
  return out;
}
