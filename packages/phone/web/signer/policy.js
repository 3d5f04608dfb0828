/**
 * What a client may do without asking: grants, and the decision about one request.
 *
 * Pure, and the same as bunker_signer.policy: both run tests/phone/tables/policy.json.
 */

import { LOGIN_TAGS } from "../describe/hosts.js";

/** What every connected client may do: none of it opens the user key. */
export const FREE = ["connect", "ping", "get_public_key", "switch_relays", "logout"];
const EVERYDAY_KINDS = [1, 6, 7, 16, 1111, 22242];
const CRYPT = ["nip44_encrypt", "nip44_decrypt", "nip44v3_encrypt", "nip44v3_decrypt", "nip04_encrypt", "nip04_decrypt"];

/**
 * @typedef {object} Action
 * @property {string} method
 * @property {number | null} kind of sign_event
 * @property {string | null} peer of encryption
 * @property {string | null} [host] of a login (kinds 22242, 24242, 27235) that is good for one alone
 * @property {boolean} [own] an HTTP login (27235) to a relay that the signer runs on
 * @property {[number, string] | null} [context] kind and scope of NIP-44 version 3
 */
/**
 * @typedef {object} Grant
 * @property {string} method
 * @property {string | null} param kind or peer; null is any
 * @property {"allow" | "deny"} effect
 * @property {number | null} expires_at Unix seconds
 * @property {number | null} uses_left
 * @property {[number, number] | null} rate uses, in each window of seconds
 * @property {number} window_start
 * @property {number} window_used
 */
/** @typedef {{ allow: true, grant: Grant | null } | { ask: true } | { refuse: string, grant: Grant }} Decision */

/** @param {string} method @param {string | null} param @param {Partial<Grant>} rest @returns {Grant} */
export const grant = (method, param = null, rest = {}) => ({
  method, param, effect: "allow", expires_at: null, uses_left: null, rate: null, window_start: 0, window_used: 0, ...rest,
});

/** The narrowest that a grant can be. @param {Action} action */
export function actionParam({ kind, peer, host, context }) {
  if (context) return context.join("/");
  if (kind === null) return peer;
  return host ? `${kind}:${host}` : String(kind);
}

/** What grants about it have for a parameter, the narrowest first. @param {Action} action @returns {(string | null)[]} */
function params(action) {
  if (action.context) return [actionParam(action), String(action.context[0]), null];
  return action.host ? [actionParam(action), String(action.kind), null] : [actionParam(action), null];
}

/** The parameter of a rule that "always" makes; undefined for a login that names no host, or several. @param {Action} action */
export const ruleParam = (action) => (action.kind !== null && action.kind in LOGIN_TAGS && !action.host ? undefined : actionParam(action));

/** Tell whether two requests are one question. @param {Action} a @param {Action} b */
export const sameAction = (a, b) => JSON.stringify(whole(a)) === JSON.stringify(whole(b));
/** @param {Action} action */
const whole = ({ method, kind, peer, host, own, context }) => [method, kind, peer, host ?? null, own ?? false, context ?? null];

const NO_GRANT = grant("");

/** The narrowest permission, in NIP-46's words. @param {Action} action */
export function permission(action) {
  const param = actionParam(action);
  return param === null ? action.method : `${action.method}:${param}`;
}

/** Decide about `action` of a client that holds `grants`. @template {Grant} G @param {G[]} grants @param {Action} action @param {number} now Unix seconds @returns {{ allow: true, grant: G | null } | { ask: true } | { refuse: string, grant: G | Grant }} */
export function decide(grants, action, now) {
  if (FREE.includes(action.method)) return { allow: true, grant: null };
  let live = grants.filter((item) => covers(item, action) && isLive(item, now));
  if (action.own) {
    // Who logs in there as the owner could ban the signer itself (NIP-86): nothing less than a grant
    // for that very host does, and nobody is asked.
    live = live.filter((item) => item.effect === "deny" || (action.host && item.param === actionParam(action)));
    if (!live.length) return { refuse: "denied: no app logs in to the signer's own relay for its owner", grant: NO_GRANT };
  }
  // The narrowest goes first; of two alike, a denial wins.
  const order = params(action);
  live.sort((a, b) => order.indexOf(a.param) - order.indexOf(b.param) || Number(a.effect === "allow") - Number(b.effect === "allow"));
  let full = null;
  for (const item of live) {
    if (item.effect === "deny") return { refuse: `denied: ${permission(action)} is ruled out for this client`, grant: item };
    if (hasRoom(item, now)) return { allow: true, grant: item };
    full ??= item;
  }
  if (full) return { refuse: `rate-limited: ${permission(action)} is used too often`, grant: full };
  return { ask: true };
}

/** Return the grant after one use. @template {Grant} G @param {G} item @param {number} now @returns {G} */
export function used(item, now) {
  const uses_left = item.uses_left === null ? null : Math.max(0, item.uses_left - 1);
  if (item.rate === null) return item.uses_left === null ? item : { ...item, uses_left };
  const fresh = now >= item.window_start + item.rate[1];
  return { ...item, uses_left, window_start: fresh ? now : item.window_start, window_used: fresh ? 1 : item.window_used + 1 };
}

/** @param {"ask" | "basic" | "full"} profile @returns {Grant[]} */
export function profileGrants(profile) {
  if (profile === "basic") return EVERYDAY_KINDS.map((kind) => grant("sign_event", String(kind)));
  if (profile === "full") return [grant("sign_event"), ...CRYPT.map((method) => grant(method))];
  return [];
}

/** @param {Grant} item @param {Action} action */
const covers = (item, action) => item.method === action.method && params(action).includes(item.param);
/** @param {Grant} item @param {number} now */
const isLive = (item, now) => (item.expires_at === null || now < item.expires_at) && item.uses_left !== 0;
/** @param {Grant} item @param {number} now */
const hasRoom = (item, now) => item.rate === null || now >= item.window_start + item.rate[1] || item.window_used < item.rate[0];
