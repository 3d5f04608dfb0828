/** NIP-49: a private key encrypted under a passphrase, `ncryptsec1...`: the recovery copy. */

import { xchacha20poly1305 } from "@noble/ciphers/chacha.js";
import { scrypt } from "hash-wasm";
import { concat, random, utf8, wipe } from "../bytes.js";
import { CryptoError, InvalidInput } from "../errors.js";
import { decodeBech32, encodeBech32 } from "./nip19.js";

export const DEFAULT_LOG_N = 16; // 64 MiB
const MAX_LOG_N = 20;
const VERSION = 2;
const BYTES = 91;
const NOT_TRACKED = 2;

/** Return `ncryptsec1...` of the 32-byte `secret`. @param {Uint8Array} secret @param {string} passphrase */
export async function encrypt(secret, passphrase, logN = DEFAULT_LOG_N, security = NOT_TRACKED) {
  const salt = random(16);
  const nonce = random(24);
  const aad = new Uint8Array([security]);
  const key = await derive(passphrase, salt, logN);
  try {
    const ciphertext = xchacha20poly1305(key, nonce, aad).encrypt(secret);
    return encodeBech32("ncryptsec", concat(new Uint8Array([VERSION, logN]), salt, nonce, aad, ciphertext));
  } finally {
    wipe(key);
  }
}

/** Write the private key into the 32-byte `out`; throws InvalidInput, CryptoError. @param {string} ncryptsec @param {string} passphrase @param {Uint8Array} out */
export async function decrypt(ncryptsec, passphrase, out) {
  const { name, data } = decodeBech32(ncryptsec);
  if (name !== "ncryptsec" || data.length !== BYTES || data[0] !== VERSION) {
    throw new InvalidInput("not an ncryptsec of a version that is known here");
  }
  const logN = data[1];
  if (logN < 1 || logN > MAX_LOG_N) throw new InvalidInput(`ncryptsec asks for more memory than is allowed (log_n ${logN})`);
  const salt = data.subarray(2, 18);
  const nonce = data.subarray(18, 42);
  const aad = data.subarray(42, 43);
  if (aad[0] > 2) throw new InvalidInput("ncryptsec has an unknown key security byte");
  const key = await derive(passphrase, salt, logN);
  try {
    xchacha20poly1305(key, nonce, aad).decrypt(data.subarray(43), out);
  } catch {
    throw new CryptoError();
  } finally {
    wipe(key);
  }
}

/** @param {string} passphrase @param {Uint8Array} salt @param {number} logN */
async function derive(passphrase, salt, logN) {
  const password = utf8(passphrase.normalize("NFKC"));
  try {
    return await scrypt({ password, salt, costFactor: 2 ** logN, blockSize: 8, parallelism: 1, hashLength: 32, outputType: "binary" });
  } finally {
    wipe(password);
  }
}
