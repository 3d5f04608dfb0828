/** The two URIs that start a NIP-46 connection: bunker:// and nostrconnect://. */

import { isHex, random, toHex } from "../bytes.js";
import { InvalidInput } from "../errors.js";
import { metadataFrom, parsePermissions, isPrintable } from "./nip46.js";
import { parsePubkey } from "./nip19.js";
import { parseRelayUrl } from "./relay_url.js";

const MAX_URI = 16384;
const MAX_RELAYS = 20;
const MAX_SECRET = 256;

/** Return a fresh secret of 32 hex characters: nostr-tools takes no `+`, `~` or `*`. */
export const newSecret = () => toHex(random(16));

/** @param {string} remoteSigner @param {string[]} relays @param {string} secret */
export function bunkerUri(remoteSigner, relays, secret) {
  const query = relays.map((relay) => `relay=${quote(relay)}`);
  return `bunker://${remoteSigner}?${[...query, `secret=${quote(secret)}`].join("&")}`;
}

/** @param {string} client @param {string[]} relays @param {string} secret @param {string} name */
export function nostrConnectUri(client, relays, secret, name) {
  const query = relays.map((relay) => `relay=${quote(relay)}`);
  // rust-nostr up to 0.44 reads no invitation without the older `metadata`
  query.push(`secret=${quote(secret)}`, `name=${quote(name)}`, `metadata=${quote(JSON.stringify({ name }))}`);
  return `nostrconnect://${client}?${query.join("&")}`;
}

/** Read a bunker:// URI; throws InvalidInput. @param {string} value @returns {{ remoteSigner: string, relays: string[], secret: string }} */
export function parseBunkerUri(value) {
  const { pubkey, pairs } = split(value, "bunker");
  return { remoteSigner: pubkey, relays: relaysIn(pairs), secret: secretIn(Object.fromEntries(pairs).secret) ?? "" };
}

/** @typedef {{ client: string, relays: string[], secret: string | null, permissions: import("./nip46.js").Permission[], requested: string, metadata: import("./nip46.js").Metadata }} NostrConnect */

/** Read a nostrconnect:// URI, also with the older `metadata={json}`; throws InvalidInput. @param {string} value @returns {NostrConnect} */
export function parseNostrConnect(value) {
  const { pubkey: client, pairs } = split(value, "nostrconnect");
  const values = Object.fromEntries(pairs);
  const secret = secretIn(values.secret); // older apps have none, and are answered with "ack"
  const relays = relaysIn(pairs);
  /** @type {Record<string, any>} */
  let fields = {};
  let requested = values.perms ?? "";
  if (values.metadata) {
    try {
      const old = JSON.parse(values.metadata);
      if (old !== null && typeof old === "object") fields = { ...old };
      if (!("perms" in values) && typeof fields.perms === "string") requested = fields.perms;
    } catch {
      // an older client's broken JSON: as if it had said nothing
    }
  }
  for (const key of ["name", "url", "image"]) if (values[key]) fields[key] = decodeAgain(values[key]);
  requested = decodeAgain(requested);
  return { client, relays, secret, permissions: parsePermissions(requested), requested, metadata: metadataFrom(fields) };
}

/** @param {string} value @param {"bunker" | "nostrconnect"} scheme */
function split(value, scheme) {
  const plain = value.trim();
  if (plain.length > MAX_URI) throw new InvalidInput(`${scheme} URI is too long`);
  const found = new RegExp(`^${scheme}:(?://)?([^?]*)(?:\\?(.*))?$`, "is").exec(plain);
  if (!found) throw new InvalidInput(`not a ${scheme}:// URI`);
  // `bunker://<npub>@<relay>`, of before NIP-46 had a query
  const [, authority, oldRelay] = /^([^@]*)@?(.*)$/s.exec(found[1]) ?? [];
  let pubkey = authority.replace(/\/+$/, "");
  if (!isHex(pubkey, 64)) {
    try {
      pubkey = parsePubkey(pubkey);
    } catch {
      throw new InvalidInput(`${scheme} URI has no public key of 64 hex characters`);
    }
  }
  /** @type {[string, string][]} */
  const pairs = [...new URLSearchParams(found[2] ?? "")];
  if (oldRelay) pairs.unshift(["relay", oldRelay.includes("://") ? oldRelay : `wss://${oldRelay}`]);
  return { pubkey, pairs };
}

/** Return the relays that can be used; throws InvalidInput when there is none. @param {[string, string][]} pairs */
function relaysIn(pairs) {
  /** @type {Set<string>} */
  const relays = new Set();
  let wrong = "";
  for (const [key, item] of pairs) {
    if (key !== "relay" || !item) continue;
    try {
      relays.add(parseRelayUrl(decodeAgain(item)));
    } catch (error) {
      wrong ||= /** @type {Error} */ (error).message;
    }
  }
  if (!relays.size) throw new InvalidInput(wrong ? `URI: ${wrong}` : "URI names no relay");
  if (relays.size > MAX_RELAYS) throw new InvalidInput(`URI names more than ${MAX_RELAYS} relays`);
  return [...relays];
}

/** @param {string | undefined} secret */
function secretIn(secret) {
  if (secret && (secret.length > MAX_SECRET || !isPrintable(secret))) throw new InvalidInput("secret is too long or has control characters");
  return secret || null;
}

/** What is left of a value that a client percent-encoded twice (NDK). @param {string} value */
function decodeAgain(value) {
  if (value.includes("://") || !/%[0-9A-Fa-f]{2}/.test(value)) return value;
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}

/** @param {string} value */
const quote = (value) => encodeURIComponent(value).replace(/[!'()*~]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
