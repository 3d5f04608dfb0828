/** NIP-98: a signed event as the authorization of one HTTP request. */

import { sha256 } from "@noble/hashes/sha2.js";
import { random, toBase64, toHex, utf8 } from "../bytes.js";
import { HTTP_AUTH, signEvent } from "./event.js";

/** Return the value of the Authorization header. @param {import("./event.js").SigningKey} key @param {string} url @param {string} method @param {string} body @param {number} now */
export async function authorization(key, url, method, body, now) {
  // Two calls within a second are two authorizations, and each is good once.
  const tags = [["u", url], ["method", method], ["payload", toHex(sha256(utf8(body)))], ["nonce", toHex(random(8))]];
  const event = await signEvent({ kind: HTTP_AUTH, content: "", tags, created_at: now }, key);
  return `Nostr ${toBase64(utf8(JSON.stringify(event)))}`;
}
