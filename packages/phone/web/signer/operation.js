/** What a request would have the key do, read from its parameters. Pure: the key is not needed. */

import { sha256 } from "@noble/hashes/sha2.js";
import { toHex, utf8 } from "../bytes.js";
import { InvalidInput, Refused } from "../errors.js";
import { eventId, parseTemplate } from "../nips/event.js";
import { METHODS, param } from "../nips/nip46.js";
import { parsePubkey } from "../nips/nip19.js";

/** @typedef {import("../nips/nip46.js").Request} Request */
/** @typedef {{ action: import("./policy.js").Action, template: import("../nips/event.js").Template | null, eventId: string, text: string }} Operation */

/** Read a request that wants the key; throws Refused. `now` is the created_at of an event without one. @param {Request} request @param {string} user @param {number} now @returns {Operation} */
export function readOperation(request, user, now) {
  const { method } = request;
  if (!METHODS.includes(method)) throw new Refused("unsupported: unknown method");
  if (method === "sign_event") return signing(request, user, now);
  try {
    const peer = parsePubkey(param(request, 0));
    return { action: { method, kind: null, peer }, template: null, eventId: "", text: param(request, 1) };
  } catch (error) {
    throw invalid(error);
  }
}

/** What tells requests apart: the id alone would not do, libraries draw ids that collide. @param {string} key @param {string} client @param {Request} request */
export function digestOf(key, client, { id, method, params }) {
  return toHex(sha256(utf8([key, client, JSON.stringify({ id, method, params })].join("\0"))));
}

/** @param {Request} request @param {string} user @param {number} now @returns {Operation} */
function signing(request, user, now) {
  let value = request.params[0];
  if (typeof value === "string") {
    try {
      value = JSON.parse(value);
    } catch {
      throw new Refused("invalid: the event is not JSON");
    }
  }
  let template;
  let id;
  try {
    template = parseTemplate(value, now);
    id = eventId(template, user);
  } catch (error) {
    throw invalid(error);
  }
  if (value.pubkey && value.pubkey !== user) throw new Refused("invalid: the event is of another author than this signer's user");
  return { action: { method: request.method, kind: template.kind, peer: null }, template, eventId: id, text: "" };
}

/** @param {unknown} error */
function invalid(error) {
  if (error instanceof InvalidInput) return new Refused(`invalid: ${error.message}`);
  throw error;
}
