// What test_memory.py runs in the page: the phone's own modules, and a control in BigInt.
import { Secp256k1 } from "../../../packages/phone/web/secp256k1.js";
import { Passphrase } from "../../../packages/phone/web/nse/passphrase.js";
import { Vault } from "../../../packages/phone/web/nse/vault.js";
import { toHex } from "../../../packages/phone/web/bytes.js";

const PEER = "c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5";
const P = 2n ** 256n - 2n ** 32n - 977n;

/** The key is the XOR of two lists, so that no message to the page holds it. */
const key = (a, b) => Uint8Array.from(a, (value, index) => value ^ b[index]);

/** The key was sealed by Python: nothing but the operations can leave it here. */
async function run(kind, count, blob) {
  const curve = await Secp256k1.start(await (await fetch("/secp256k1.wasm")).arrayBuffer());
  const protector = new Passphrase("memory");
  const vault = new Vault(curve, blob);
  await vault.unlock(protector, 600);
  const payload = kind.endsWith("decrypt") ? await vault.crypt(kind.replace("decrypt", "encrypt"), PEER, "text") : "text";
  for (let i = 0; i < count; i++) {
    if (kind === "nip44v3") await vault.crypt("nip44v3_decrypt", PEER, await vault.crypt("nip44v3_encrypt", PEER, "text", [1, "x"]), [1, "x"]);
    else if (kind === "sign") await vault.sign(crypto.getRandomValues(new Uint8Array(32)));
    else await vault.crypt(kind, PEER, payload);
  }
  vault.lock();
}

/** As libraries do that compute in BigInt: bytes, hex, number, and nothing is wiped. */
function control(count, a, b) {
  globalThis.kept = [];
  for (let i = 0; i < count; i++) {
    const secret = key(a, b);
    const hex = toHex(secret);
    globalThis.kept.push(secret, hex, (BigInt(`0x${hex}`) * 7n) % P, BigInt(`0x${hex}`));
  }
}

globalThis.bench = { run, control };
