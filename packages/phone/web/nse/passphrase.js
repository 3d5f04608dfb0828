/** Slot type `passphrase`: Argon2id makes guessing dear. The same costs and bounds as the signer's. */

import { argon2id, scrypt } from "hash-wasm";
import { fromHex, isHex, random, toHex, utf8, wipe } from "../bytes.js";
import { NSEError } from "../errors.js";
import { damaged } from "./blob.js";

const COST = { m: 64 * 1024, t: 3, p: 1 }; // RFC 9106's second choice with one lane
const MAX_PASSPHRASE = 1024; // bytes

/** @typedef {import("./blob.js").Params} Params */

/** A protector of slots by something that is remembered. @implements {Protector} */
export class Passphrase {
  type = "passphrase";
  hw = false;
  bound = false;
  #bytes;

  /** @param {string} passphrase */
  constructor(passphrase, cost = COST) {
    this.#bytes = utf8(passphrase.normalize("NFKC"));
    this.cost = cost;
    if (!this.#bytes.length || this.#bytes.length > MAX_PASSPHRASE) {
      throw new NSEError(`passphrase is empty or longer than ${MAX_PASSPHRASE} bytes`, "wrong");
    }
  }

  /** @returns {Promise<{ params: Params, key: Uint8Array }>} */
  async create() {
    const params = { kdf: "argon2id", salt: toHex(random(16)), ...this.cost };
    return { params, key: await this.recover(params) };
  }

  /** @param {Params} params @returns {Promise<Uint8Array>} */
  async recover(params) {
    const { kdf, salt, m, t, p, log_n } = params;
    const names = Object.keys(params).sort().join();
    if (!isHex(salt, 32)) throw damaged("slot parameter 'salt' is not hexadecimal");
    const common = { password: this.#bytes, salt: fromHex(String(salt)), hashLength: 32, outputType: /** @type {const} */ ("binary") };
    if (kdf === "argon2id" && names === "kdf,m,p,salt,t") {
      const memorySize = within(m, 8, 1024 * 1024, "m");
      const parallelism = within(p, 1, 8, "p");
      if (memorySize < 8 * parallelism) throw damaged("slot parameter 'm' is less than 8 for each lane");
      return argon2id({ ...common, memorySize, parallelism, iterations: within(t, 1, 16, "t") });
    }
    if (kdf === "scrypt" && names === "kdf,log_n,salt") {
      return scrypt({ ...common, costFactor: 2 ** within(log_n, 1, 20, "log_n"), blockSize: 8, parallelism: 1 });
    }
    throw damaged("slot parameter 'kdf' is not known");
  }

  close() {
    wipe(this.#bytes);
  }
}

/**
 * What opens slots of one type.
 * @typedef {object} Protector
 * @property {string} type
 * @property {boolean} hw
 * @property {boolean} bound
 * @property {(pubkey: string) => Promise<{ params: Params, key: Uint8Array }>} create
 * @property {(params: Params, pubkey: string) => Promise<Uint8Array>} recover
 * @property {() => void} close
 */

/** @param {unknown} value @param {number} low @param {number} high @param {string} name */
function within(value, low, high, name) {
  if (!Number.isInteger(value) || Number(value) < low || Number(value) > high) {
    throw damaged(`slot parameter '${name}' is not from ${low} to ${high}`);
  }
  return Number(value);
}
