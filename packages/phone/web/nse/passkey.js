/**
 * Slot type `passkey-prf`: the wrapping key comes out of the phone's secure hardware, after a
 * finger, a face or the screen lock, by WebAuthn's extension `prf` (WebAuthn 3, section 10.1.4).
 */

import { extract } from "@noble/hashes/hkdf.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { fromHex, isHex, random, toHex, unmoved, utf8, wipe } from "../bytes.js";
import { NSEError } from "../errors.js";
import { damaged } from "./blob.js";

export const PASSKEY = "passkey-prf";
const TIMEOUT = 60_000; // milliseconds
const INFO = utf8("nse:v2:passkey-prf");

/** @typedef {import("./blob.js").Params} Params */

/** A protector of slots by a passkey of this site. @implements {Protector} */
export class Passkey {
  type = PASSKEY;
  hw = false; // a password manager may copy the passkey to other devices; nothing tells us
  bound = true;

  /** @param {string} label how the passkey is called in the phone's list */
  constructor(label = "") {
    this.label = label;
  }

  /** @param {string} pubkey @returns {Promise<{ params: Params, key: Uint8Array }>} */
  async create(pubkey) {
    const salt = random(32);
    const name = this.label || `nostr ${pubkey.slice(0, 8)}`;
    const credential = await ask(() =>
      navigator.credentials.create({
        publicKey: {
          rp: { id: location.hostname, name: "nostr-bunker" },
          user: { id: random(16), name, displayName: name },
          challenge: random(32), // nobody checks it: the passkey proves nothing here, it derives
          pubKeyCredParams: [{ type: "public-key", alg: -7 }, { type: "public-key", alg: -257 }],
          authenticatorSelection: { residentKey: "required", userVerification: "required" },
          timeout: TIMEOUT,
          extensions: { prf: { eval: { first: salt } } },
        },
      }),
    );
    const made = credential.getClientExtensionResults().prf;
    if (!made?.enabled && !made?.results) {
      throw new NSEError("this device's passkeys can't seal a key: choose a passphrase", "unavailable");
    }
    const params = { credential: toHex(new Uint8Array(credential.rawId)), rp: location.hostname, salt: toHex(salt) };
    const first = made.results?.first;
    // Some authenticators tell the value only when they are asked again.
    return { params, key: first ? wrappingKey(first, salt, pubkey) : await this.recover(params, pubkey) };
  }

  /** @param {Params} params @param {string} pubkey @returns {Promise<Uint8Array>} */
  async recover(params, pubkey) {
    const { credential, rp, salt } = params;
    checkParams(params);
    if (rp !== location.hostname) {
      throw new NSEError(`this key was sealed at ${rp}: its passkey works there alone`, "unavailable");
    }
    const saltBytes = fromHex(String(salt));
    const found = await ask(() =>
      navigator.credentials.get({
        publicKey: {
          rpId: location.hostname,
          challenge: random(32),
          allowCredentials: [{ type: "public-key", id: fromHex(String(credential)) }],
          userVerification: "required",
          timeout: TIMEOUT,
          extensions: { prf: { eval: { first: saltBytes } } },
        },
      }),
    );
    const first = found.getClientExtensionResults().prf?.results?.first;
    if (!first) throw new NSEError("the passkey did not open the key: use the recovery copy", "unavailable");
    return wrappingKey(first, saltBytes, pubkey);
  }

  close() {}
}

/** @typedef {import("./passphrase.js").Protector} Protector */

/** Throw NSEError for parameters that are not a passkey's. @param {Params} params */
export function checkParams(params) {
  const { credential, salt } = params;
  if (Object.keys(params).sort().join() !== "credential,rp,salt" || !isHex(salt, 64)) throw damaged("slot parameters are not those of a passkey");
  if (!isHex(credential, String(credential).length) || String(credential).length > 2048) throw damaged("slot parameter 'credential' is not hexadecimal");
}

/** @param {BufferSource} value @param {Uint8Array} salt @param {string} pubkey */
function wrappingKey(value, salt, pubkey) {
  const bytes = new Uint8Array(value instanceof ArrayBuffer ? value : value.buffer);
  const extracted = extract(sha256, bytes, salt);
  wipe(bytes);
  const key = unmoved(32);
  // HKDF's second half (RFC 5869, section 2.3) for one block, into a buffer of ours.
  hmac.create(sha256, extracted).update(INFO).update(utf8(pubkey)).update(Uint8Array.of(1)).digestInto(key);
  wipe(extracted);
  return key;
}

/** @param {() => Promise<Credential | null>} request @returns {Promise<PublicKeyCredential>} */
async function ask(request) {
  let found;
  try {
    found = await request();
  } catch (error) {
    const name = error instanceof Error ? error.name : "";
    throw new NSEError(name === "NotAllowedError" ? "the passkey was not confirmed, or is not on this device" : `the passkey failed (${name})`, "wrong");
  }
  if (!found) throw new NSEError("the passkey was not confirmed", "wrong");
  return /** @type {PublicKeyCredential} */ (found);
}
