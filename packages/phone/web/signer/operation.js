/** What a request would have the key do, read from its parameters. Pure: the key is not needed. */

import { sha256 } from "@noble/hashes/sha2.js";
import { fromBase64, isHex, text as decoded, toHex, utf8 } from "../bytes.js";
import { hosts, hostOf } from "../describe/hosts.js";
import { InvalidInput, Refused } from "../errors.js";
import { eventId, HTTP_AUTH, parseTemplate } from "../nips/event.js";
import { isPrintable, METHODS, OF_A_SCOPE, param } from "../nips/nip46.js";
import { MAX_SCOPE } from "../nips/nip44v3.js";
import { parsePubkey } from "../nips/nip19.js";
import { fault } from "../nips/payload.js";

const LOOPBACK = ["127.0.0.1", "[::1]", "localhost"];
const SURROGATE = "the event is not Unicode: it has half of a surrogate pair";

/** @typedef {import("../nips/nip46.js").Request} Request */
/** @typedef {{ action: import("./policy.js").Action, template: import("../nips/event.js").Template | null, eventId: string, text: string }} Operation */

/** Return the hosts of relay URLs, as `readOperation` compares them. @param {string[]} relays */
export const hostsOf = (relays) => relays.map((url) => normal(hostOf(url)));

/**
 * Read a request that wants the key; throws Refused. `now` is the created_at of an event without one,
 * `ownHosts` are our own relays'. @param {Request} request @param {string} user @param {number} now @param {string[]} ownHosts @returns {Operation}
 */
export function readOperation(request, user, now, ownHosts = []) {
  const { method } = request;
  if (!METHODS.includes(method)) throw new Refused("unsupported: unknown method");
  if (method === "sign_event") return signing(request, user, now, ownHosts);
  let peer;
  try {
    peer = parsePubkey(xOnly(param(request, 0)));
  } catch (error) {
    throw invalid(error);
  }
  if (OF_A_SCOPE.includes(method)) return scoped(request, peer);
  let text = request.params[1];
  if (typeof text !== "string") throw new Refused("invalid: the text is missing, it is the second parameter");
  if (method.endsWith("_decrypt")) text = text.trim(); // a payload may have been copied with a space
  const wrong = fault(method, text);
  if (wrong) throw new Refused(`invalid: ${wrong}`);
  return { action: { method, kind: null, peer }, template: null, eventId: "", text };
}

/** Return what a person is shown of an operation: version 3 encrypts bytes, which come as base64. @param {Operation} operation */
export function shown({ action, template, text }) {
  if (action.method !== "nip44v3_encrypt") return { template, text };
  try {
    return { template, text: decoded(fromBase64(text)) };
  } catch {
    return { template, text }; // no text, so the base64 is what there is to see
  }
}

/** What tells requests apart: the id alone would not do, libraries draw ids that collide. @param {string} key @param {string} client @param {Request} request */
export function digestOf(key, client, { id, method, params }) {
  return toHex(sha256(utf8([key, client, JSON.stringify({ id, method, params })].join("\0"))));
}

/** @param {Request} request @param {string} user @param {number} now @param {string[]} ownHosts @returns {Operation} */
function signing(request, user, now, ownHosts) {
  let value = request.params[0];
  if (typeof value === "string") {
    try {
      value = JSON.parse(value, wellFormed);
    } catch (error) {
      throw error instanceof Refused ? error : new Refused("invalid: the event is not JSON");
    }
  }
  // JavaScript's Date.now() / 1000, not rounded.
  if (Number.isFinite(value?.created_at)) value = { ...value, created_at: Math.floor(value.created_at) };
  let template;
  let id;
  try {
    template = parseTemplate(value, now);
    id = eventId(template, user);
  } catch (error) {
    throw invalid(error);
  }
  const author = value.pubkey;
  if (author && (typeof author !== "string" || author.toLowerCase() !== user)) throw new Refused("invalid: the event is of another author than this signer's user");
  const where = hosts(template).map(normal);
  const action = {
    method: request.method, kind: template.kind, peer: null,
    host: where.length === 1 && isHost(where[0]) ? where[0] : null,
    own: template.kind === HTTP_AUTH && where.some((host) => ownHosts.includes(host)),
  };
  return { action, template, eventId: id, text: "" };
}

/** Read (pubkey, kind, scope, text) of NIP-44 version 3; the plaintext is base64. @param {Request} request @param {string} peer @returns {Operation} */
function scoped({ method, params }, peer) {
  let [, kind, scope, text] = params;
  if (typeof kind === "string" && /^[0-9]{1,5}$/.test(kind)) kind = Number(kind);
  if (!Number.isInteger(kind) || kind < 0 || kind > 65535) throw new Refused("invalid: the second parameter is not a kind");
  if (typeof scope !== "string" || typeof text !== "string") throw new Refused("invalid: the parameters are pubkey, kind, scope and text");
  if (!isPrintable(scope) || utf8(scope).length > MAX_SCOPE) throw new Refused(`invalid: the scope is not printable, or over ${MAX_SCOPE} bytes`);
  if (method === "nip44v3_encrypt") {
    try {
      fromBase64(text);
    } catch {
      throw new Refused("invalid: the text to encrypt is not base64");
    }
  }
  return { action: { method, kind: null, peer, context: [kind, scope] }, template: null, eventId: "", text: text.trim() };
}

/** Return a pubkey without the byte in front that other libraries write (SEC 1: 02 or 03). @param {string} pubkey */
const xOnly = (pubkey) => (/^0[23]/.test(pubkey) && isHex(pubkey.toLowerCase(), 66) ? pubkey.slice(2) : pubkey);

/** Return a host and port in the one form that is compared: several mean the same place. @param {string} host */
function normal(host) {
  const found = /^(.*):(\d+)$/s.exec(host);
  const port = found ? found[2] : "";
  let name = (found ? found[1] : host).replace(/\.+$/, "");
  if (LOOPBACK.includes(name)) name = "localhost";
  return ["", "80", "443"].includes(port) ? name : `${name}:${port}`;
}

/** Tell whether a text can stand in a rule and before a person: host names and ports do. @param {string} host */
const isHost = (host) => host.length <= 253 + 6 && /^[\x21-\x7e]+$/.test(host);

/** A reviver that takes no half of a surrogate pair. @param {string} _ @param {any} value */
function wellFormed(_, value) {
  if (typeof value === "string" && /** @type {any} */ (value).isWellFormed?.() === false) throw new Refused(`invalid: ${SURROGATE}`);
  return value;
}

/** @param {unknown} error */
function invalid(error) {
  if (error instanceof InvalidInput) return new Refused(`invalid: ${error.message}`);
  throw error;
}
