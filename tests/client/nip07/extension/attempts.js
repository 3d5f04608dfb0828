/**
 * Unlocks of a sealed key, while the clock stands still and then goes on: what each one says.
 * `globalThis.wasm` holds the curve's module.
 */

import { SealedKeys } from "../../../../packages/client/extension/homes/sealed.js";
import { Passphrase } from "../../../../packages/phone/web/nse/passphrase.js";
import { seal } from "../../../../packages/phone/web/nse/vault.js";
import { newSecret, Secp256k1 } from "../../../../packages/phone/web/secp256k1.js";

let now = 1_790_000_000_000;
Date.now = () => now;
const RIGHT = "correct horse battery";
const curve = await Secp256k1.start(/** @type {any} */ (globalThis).wasm);
const secret = new Uint8Array(32);
newSecret(secret);
const blob = await seal(curve, secret, [new Passphrase(RIGHT, { m: 64, t: 1, p: 1 })], now / 1000);
const keys = new SealedKeys({ awake: () => {} });

/** @param {string} passphrase */
const unlock = (passphrase) => keys.unlock(curve, "id", blob, { passphrase }, 1).then(() => "open", (error) => error.message);
/** @param {number} times @param {string} passphrase */
async function unlocks(times, passphrase) {
  const said = [];
  for (let n = 0; n < times; n++) said.push(await unlock(passphrase));
  return said;
}

const out = { right: await unlocks(12, RIGHT), wrong: await unlocks(5, "not this one, no"), refused: await unlocks(2, RIGHT), open: !keys.locked("id") };
keys.lockAll();
now += 4_900;
const early = await unlock(RIGHT);
now += 100;
const later = await unlock(RIGHT);
const again = await unlocks(6, "not this one, no");
const both = await Promise.all(Array.from({ length: 20 }, () => unlock(RIGHT)));
keys.lockAll();
console.log(JSON.stringify({ ...out, early, later, again, both: [...new Set(both)] }));
