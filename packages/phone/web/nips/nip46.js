/** NIP-46: the requests and responses that client and remote signer exchange, as of 2026-07. */

import { InvalidRPC } from "../errors.js";
import { isObject } from "./event.js";

export const MAX_ID = 256;
const MAX_ECHO = 4096;
const MAX_PAGE = 2048; // characters of an address
export const MAX_METADATA = 256;
export const MAX_PERMISSIONS = 256;

export const METHODS = [
  "connect", "sign_event", "ping", "get_public_key", "nip04_encrypt", "nip04_decrypt",
  "nip44_encrypt", "nip44_decrypt", "nip44v3_encrypt", "nip44v3_decrypt", "switch_relays", "logout",
];
/** Version 3 of NIP-44, a draft: (pubkey, kind, scope, base64). Its parameter in a grant is a kind, or kind/scope. */
export const OF_A_SCOPE = ["nip44v3_encrypt", "nip44v3_decrypt"];

/** @typedef {{ id: string | number, method: string, params: any[] }} Request */
/** @typedef {{ id: string | number, result?: string, error?: string }} Response */
/** @typedef {{ method: string, param: string | null }} Permission */
/** @typedef {{ name: string, url: string, image: string }} Metadata */

/**
 * Read a decrypted request; `params` may be missing or not a list. Throws InvalidRPC, with the id
 * where it can be read. @param {string} text @returns {Request}
 */
export function parseRequest(text) {
  const value = object(text);
  let id;
  try {
    id = readId(value);
  } catch (error) {
    // An error is owed to a request whose id is no text, or too long: it goes back as it came.
    const known = ["string", "number"].includes(typeof value.id) && String(value.id).length <= MAX_ECHO;
    throw known && typeof value.method === "string" ? new InvalidRPC(/** @type {Error} */ (error).message, value.id) : error;
  }
  if (typeof value.method !== "string") {
    if ("result" in value) throw new InvalidRPC("message is a response");
    throw new InvalidRPC("method is missing", id);
  }
  return { id, method: value.method, params: Array.isArray(value.params) ? value.params : [] };
}

/**
 * Read a decrypted response, in any shape that signers are known to send: `error` may be an object
 * with a message (snstr), `result` null (Amber) or a JSON value instead of its text. Throws InvalidRPC.
 * @param {string} text @returns {{ id: string, result: string | null, error: string | null }}
 */
export function parseResponse(text) {
  const value = object(text);
  const said = value.error;
  const error = isObject(said) && typeof said.message === "string" ? said.message : asText(said);
  return { id: String(readId(value)), result: asText(value.result), error: error || null };
}

/** Read what a remote signer sends: nearly always a response. Throws InvalidRPC. @param {string} text */
export function parseMessage(text) {
  const value = object(text);
  return typeof value.method === "string" && !("result" in value) ? parseRequest(text) : parseResponse(text);
}

/** Tell whether what a signer wants its owner to visit is an address of a page. @param {string} text */
export const isPage = (text) => text.length <= MAX_PAGE && /^https?:\/\/[\x21-\x7e]+$/.test(text);

/** @param {unknown} value */
const asText = (value) => (value === undefined || value === null ? null : typeof value === "string" ? value : JSON.stringify(value));

/** Return the text parameter at `index`, "" when absent. @param {Request} request @param {number} index */
export function param(request, index) {
  const value = request.params[index];
  return typeof value === "string" ? value : "";
}

/**
 * Return the text to encrypt. An error has `result: "error"` beside it and a success no `error` at
 * all: the only shapes that all client libraries understand. @param {Response} response
 */
export function responseText({ id, result, error }) {
  if (error === undefined) return JSON.stringify({ id, result: result ?? "" });
  return JSON.stringify({ id, result: result === "auth_url" ? "auth_url" : "error", error });
}

/** Read a comma-separated permission list; what is none is left out. @param {string} text @returns {Permission[]} */
export function parsePermissions(text) {
  /** @type {Map<string, Permission>} */
  const found = new Map();
  for (const entry of text.split(",").slice(0, MAX_PERMISSIONS)) {
    const plain = entry.trim();
    const colon = plain.indexOf(":");
    const method = colon < 0 ? plain : plain.slice(0, colon);
    const value = colon < 0 ? null : plain.slice(colon + 1);
    if (!/^[A-Za-z0-9_]*[A-Za-z0-9][A-Za-z0-9_]*$/.test(method)) continue;
    if (value !== null && !isPrintable(value)) continue;
    if (method === "sign_event" && value !== null && !isKind(value)) continue;
    if (OF_A_SCOPE.includes(method) && value !== null && !isKind(value.split("/")[0])) continue;
    found.set(permissionText({ method, param: value }), { method, param: value });
  }
  return [...found.values()];
}

/** @param {Permission} permission */
export const permissionText = ({ method, param: value }) => (value === null ? method : `${method}:${value}`);

/** Read the 4th parameter of `connect`; what is not an object of strings counts as empty. @param {string} text */
export function parseMetadata(text) {
  try {
    return metadataFrom(JSON.parse(text));
  } catch {
    return metadataFrom(null);
  }
}

/** Keep name, url and image; long texts are cut. @param {any} value @returns {Metadata} */
export function metadataFrom(value) {
  /** @param {string} name */
  const field = (name) =>
    isObject(value) && typeof value[name] === "string"
      ? [...value[name]].filter(isPrintable).slice(0, MAX_METADATA).join("")
      : "";
  return { name: field("name"), url: field("url"), image: field("image") };
}

/** Tell whether a text has nothing but what is shown, as Python's isprintable does. @param {string} value */
export const isPrintable = (value) => !/[\p{C}\p{Zl}\p{Zp}]/u.test(value) && !/[^\S ]/u.test(value);

/** @param {string} text @returns {Record<string, any>} */
function object(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new InvalidRPC("message is not JSON");
  }
  if (!isObject(value)) throw new InvalidRPC("message is not an object");
  return value;
}

/** @param {Record<string, any>} value */
function readId(value) {
  const { id } = value;
  if (typeof id === "string" && [...id].length <= MAX_ID) return id;
  // A number that JavaScript would round can't be echoed as it came.
  if (Number.isSafeInteger(id)) return /** @type {number} */ (id);
  throw new InvalidRPC("id is missing or not a text");
}

/** @param {string} value */
const isKind = (value) => /^(?:[0-9]{1,5}|(?:22242|24242|27235):[\x20-\x7e]+)$/.test(value) && Number(value.split(":")[0]) <= 65535;
