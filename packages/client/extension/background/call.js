/** A call of `window.nostr`, read from a page's untrusted words (NIP-07), and whether it may. */

import { InvalidInput } from "../../../phone/web/errors.js";
import { readOperation } from "../../../phone/web/signer/operation.js";
import { decide as decidePolicy, grant, ruleParam } from "../../../phone/web/signer/policy.js";

/** NIP-07's methods and what NIP-46 calls the same thing. @type {Record<string, string>} */
const METHODS = {
  getPublicKey: "get_public_key", getRelays: "get_public_key", signEvent: "sign_event",
  "nip04.encrypt": "nip04_encrypt", "nip04.decrypt": "nip04_decrypt",
  "nip44.encrypt": "nip44_encrypt", "nip44.decrypt": "nip44_decrypt",
};
const HOUR = 3600;

/** @typedef {import("../../../phone/web/signer/policy.js").Action} Action */
/** @typedef {import("../../../phone/web/signer/operation.js").Operation} Operation */
/** @typedef {"once" | "hour" | "always" | "deny" | "never"} Verdict */
/** @typedef {{ verdict: Verdict, anyone?: boolean, identity?: string }} Answer `anyone`: for every peer, not this one alone; `identity`: who to be for this site */

/** Read a call of somebody's page; throws InvalidInput, Refused. @param {unknown} method @param {unknown} params @param {string} user whose key it is @param {number} now Unix seconds @returns {Operation} */
export function readCall(method, params, user, now) {
  const known = typeof method === "string" && Object.hasOwn(METHODS, method) ? METHODS[method] : undefined;
  if (!known) throw new InvalidInput("unsupported: window.nostr has no such method");
  if (!Array.isArray(params)) throw new InvalidInput("invalid: params are not an array");
  if (known === "get_public_key") return { action: { method: known, kind: null, peer: null }, template: null, eventId: "", text: "" };
  if (known !== "sign_event" && params.slice(0, 2).filter((item) => typeof item === "string").length < 2) {
    throw new InvalidInput("invalid: a pubkey and a text are needed");
  }
  return readOperation({ id: "", method: known, params }, user, now);
}

/** Tell what is remembered: true, false, or null when the user is to be asked. @param {import("./state.js").Grant[]} grants @param {Action} action @param {number} now */
export function decide(grants, action, now) {
  if (action.method === "get_public_key") {
    // What policy.js has for free is not free here: who a visitor is, a site is told by leave only.
    const found = grants.find((item) => item.method === action.method && (item.expires_at === null || now < item.expires_at));
    return found ? found.effect === "allow" : null;
  }
  const found = decidePolicy(grants, action, now);
  return "ask" in found ? null : "allow" in found;
}

/** Return the grant that an answer stands for; null of one that is for this once, or can be for no more. @param {Action} action @param {Answer} answer @param {number} now */
export function grantOf(action, { verdict, anyone }, now) {
  if (verdict === "once" || verdict === "deny") return null;
  const param = action.kind === null && anyone ? null : ruleParam(action);
  if (param === undefined) return null; // a login that names no host
  return grant(action.method, param, { effect: verdict === "never" ? "deny" : "allow", expires_at: verdict === "hour" ? now + HOUR : null });
}

/** Tell whether a "no" to one is meant for both: whoever the peers are. @param {Action} a @param {Action} b */
export const alike = (a, b) => a.method === b.method && a.kind === b.kind;

/** Who one is, is known of a locked key as well. @param {Operation} operation */
export const needsKey = ({ action }) => action.method !== "get_public_key";

/** About how many characters a call holds. @param {Operation} operation */
export const sizeOf = ({ template, text }) => text.length + (template ? template.content.length + template.tags.flat().join("").length : 0);
