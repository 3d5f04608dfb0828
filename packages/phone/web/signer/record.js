/**
 * What is written down of clients and requests: each function is part of one transaction.
 *
 * The journal's entry, what it stands for (a grant's use, the owner's approval, the answer) and the
 * line in the audit log are changed together or not at all: a page that is closed anywhere goes on
 * where it was and never releases a second answer.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { toHex, utf8 } from "../bytes.js";
import { next } from "./audit_chain.js";
import { actionParam, decide, grant as newGrant, ruleParam, used } from "./policy.js";

export const GONE = "denied: not connected any more";
export const MAX_WAITING = 100; // requests of one client that wait for the owner
const SECRET_LIFETIME = 24 * 3600;
const REMEMBER = 2 * 300 + 60; // seconds: longer than a request can stay fresh
const KEEP_ANSWERS = 3600;
const KEEP_AUDIT = 50_000; // entries

/** @typedef {import("./database.js").Transaction} Transaction */
/** @typedef {import("./database.js").Store} Store */
/** @typedef {import("./database.js").ClientRow} ClientRow */
/** @typedef {import("./database.js").GrantRow} GrantRow */
/** @typedef {import("./database.js").RequestRow} RequestRow */
/** @typedef {import("./operation.js").Operation} Operation */

/** @type {Store[]} */
export const ALL = ["settings", "clients", "grants", "secrets", "handled", "requests", "audit"];

/** Add an entry to the audit log. @param {Transaction} tx @param {number} now @param {string} action @param {string} key @param {object} facts */
export async function audit(tx, now, action, key, facts = {}) {
  const last = await tx.last("audit");
  const entry = next(last, now, action, key, facts);
  await tx.put("audit", entry);
  if (entry.seq > KEEP_AUDIT) await tx.delete("audit", entry.seq - KEEP_AUDIT);
}

/** Remember a request event; return whether it is new. @param {Transaction} tx @param {string} id @param {number} now */
export async function markHandled(tx, id, now) {
  if (await tx.get("handled", id)) return false;
  await tx.put("handled", { id, at: now });
  return true;
}

/** Forget what is too old to matter. @param {Transaction} tx @param {number} now */
export async function tidy(tx, now) {
  await tx.deleteUpTo("handled", "at", now - REMEMBER);
  await tx.deleteUpTo("secrets", "created_at", now - SECRET_LIFETIME);
  for (const row of await tx.all("requests", "received_at", IDBKeyRange.upperBound(now - KEEP_ANSWERS))) {
    await tx.delete("requests", row.digest);
  }
}

// --- clients ------------------------------------------------------------------------------------

/** Make `secret` good for pairing one client, once, within a day. @param {Transaction} tx @param {string} key @param {string} secret @param {import("./policy.js").Grant[]} grants @param {string[]} relays @param {number} now */
export const addSecret = (tx, key, secret, grants, relays, now) =>
  tx.put("secrets", { digest: secretDigest(secret), key, grants, relays, created_at: now, used_by: "" });

/** Admit a client by an unused secret; return the client, or null. @param {Transaction} tx @param {string} pubkey @param {string} secret @param {import("../nips/nip46.js").Metadata} metadata @param {string} requested @param {number} now */
export async function pair(tx, pubkey, secret, metadata, requested, now) {
  const row = await tx.get("secrets", secretDigest(secret));
  if (!row || row.used_by || row.created_at < now - SECRET_LIFETIME) return null;
  await tx.put("secrets", { ...row, used_by: pubkey });
  return addClient(tx, row.key, pubkey, metadata, row.relays, requested, row.grants, now, "secret");
}

/** Admit a client; one that is there already keeps its grants and the owner's name for it. @param {Transaction} tx @param {string} key @param {string} pubkey @param {import("../nips/nip46.js").Metadata} metadata @param {string[]} relays @param {string} requested @param {import("./policy.js").Grant[]} grants @param {number} now @param {string} by */
export async function addClient(tx, key, pubkey, metadata, relays, requested, grants, now, by) {
  /** @type {ClientRow | undefined} */
  const known = await tx.get("clients", pubkey);
  const same = known?.key === key ? known : undefined;
  /** @type {ClientRow} */
  const client = {
    pubkey, key, name: same?.renamed ? same.name : metadata.name, url: metadata.url, renamed: same?.renamed ?? false,
    relays, requested: requested.slice(0, 4096), paired_at: now, last_seen: now,
  };
  if (known && !same) await removeGrants(tx, pubkey); // of another key: nothing of it carries over
  await tx.put("clients", client);
  for (const item of grants) await putGrant(tx, pubkey, item);
  await audit(tx, now, "pair", key, { client_pubkey: pubkey, outcome: "allowed", decided_by: by });
  return client;
}

/** Forget a client, its grants and its answers. @param {Transaction} tx @param {string} pubkey @param {string} action @param {number} now @param {string} by */
export async function removeClient(tx, pubkey, action, now, by = "") {
  const client = await tx.get("clients", pubkey);
  if (!client) return false;
  await removeGrants(tx, pubkey);
  for (const row of await tx.all("requests", "client", pubkey)) await tx.delete("requests", row.digest);
  await tx.delete("clients", pubkey);
  await audit(tx, now, action, client.key, { client_pubkey: pubkey, decided_by: by });
  return true;
}

/** Talk to a client on other relays from now on. @param {Transaction} tx @param {string} pubkey @param {string[]} relays */
export async function moveClient(tx, pubkey, relays) {
  const row = await tx.get("clients", pubkey);
  if (row) await tx.put("clients", { ...row, relays });
}

/** Give a grant, in place of one of the same method and parameter. @param {Transaction} tx @param {string} client @param {import("./policy.js").Grant} item */
export async function putGrant(tx, client, item) {
  for (const row of await tx.all("grants", "client", client)) {
    if (row.method === item.method && row.param === item.param) await tx.delete("grants", row.id);
  }
  await tx.put("grants", { ...item, client });
}

/** @param {Transaction} tx @param {string} client */
async function removeGrants(tx, client) {
  for (const row of await tx.all("grants", "client", client)) await tx.delete("grants", row.id);
}

/** Note that a client was heard of, to the minute. @param {Transaction} tx @param {ClientRow} client @param {number} now */
export async function see(tx, client, now) {
  if (now < client.last_seen + 60) return;
  const row = await tx.get("clients", client.pubkey);
  if (row) await tx.put("clients", { ...row, last_seen: now });
}

// --- requests -----------------------------------------------------------------------------------

/**
 * Write a request down with the policy's decision; decision, count of the grant's use and journal
 * are one. Returns null for an event that was handled before, else the entry or what refuses it.
 * @param {Transaction} tx @param {{ client: ClientRow, event: import("../nips/event.js").Event, digest: string, relay: string, operation: Operation }} job @param {number} now
 * @returns {Promise<{ entry: RequestRow, refusal?: string, known?: boolean } | null>}
 */
export async function admit(tx, { client, event, digest, relay, operation }, now) {
  if (!(await markHandled(tx, event.id, now))) return null;
  await see(tx, client, now);
  const known = await tx.get("requests", digest);
  if (known) return { entry: known, known: true };
  const { action } = operation;
  /** @type {RequestRow} */
  const entry = {
    digest, key: client.key, client: client.pubkey, event, relay, state: "open", received_at: now, arrived: Date.now(),
    decided_by: "", answer: "", method: action.method, param: actionParam(action) ?? "", notified: false,
  };
  if (await tx.setting("paused")) return { entry, refusal: "locked: the signer is paused" };
  if (!(await tx.get("clients", client.pubkey))) return { entry, refusal: GONE };
  /** @type {GrantRow[]} */
  const held = await tx.all("grants", "client", client.pubkey);
  const decision = decide(held, action, now);
  if ("refuse" in decision) {
    await auditRequest(tx, entry, operation, now, decision.refuse, rule(decision.grant));
    return { entry, refusal: decision.refuse };
  }
  const waiting = (await tx.all("requests", "client", client.pubkey)).filter((row) => row.state === "open" || row.state === "approved");
  if (waiting.length >= MAX_WAITING) return { entry, refusal: "pending: too many requests wait for approval" };
  if ("allow" in decision) {
    if (decision.grant) {
      const after = used(decision.grant, now);
      if (after !== decision.grant) await tx.put("grants", after);
    }
    entry.state = "approved";
    entry.decided_by = decision.grant ? rule(decision.grant) : "";
  }
  await tx.put("requests", entry);
  return { entry };
}

/** Write down that the owner allowed it; return whether it is still there. @param {Transaction} tx @param {string} digest @param {string} by */
export async function approve(tx, digest, by) {
  const entry = await tx.get("requests", digest);
  if (entry?.state === "open") await tx.put("requests", { ...entry, state: "approved", decided_by: by });
  return entry?.state === "open" || entry?.state === "approved";
}

/** Turn "always" and "never" into a grant, if the client is still one. @param {Transaction} tx @param {string} client @param {import("./policy.js").Action} action @param {"allow" | "deny"} effect @param {number | null} seconds @param {number | null} uses @param {number} now @param {string} by */
export async function takeRule(tx, client, action, effect, seconds, uses, now, by) {
  const row = await tx.get("clients", client);
  const param = ruleParam(action);
  if (!row || param === undefined) return;
  const expires_at = seconds === null ? null : now + seconds;
  await putGrant(tx, client, newGrant(action.method, param, { effect, expires_at, uses_left: uses }));
  await audit(tx, now, "grant", row.key, { client_pubkey: client, method: action.method, param: param ?? "", outcome: effect, decided_by: by });
}

/**
 * Write the encrypted answer down; return whether it may go. It may not when the client was revoked
 * or the request answered in the meantime. One that is not `lasting` is forgotten.
 * @param {Transaction} tx @param {RequestRow} entry @param {Operation} operation @param {number} now @param {string} answer @param {string} outcome @param {string} by @param {boolean} lasting
 */
export async function answer(tx, entry, operation, now, answer, outcome, by, lasting) {
  const row = await tx.get("requests", entry.digest);
  const there = row?.state === "open" || row?.state === "approved";
  if (there && lasting) await tx.put("requests", { ...row, state: "answered", answer, decided_by: by });
  if (there && !lasting) await tx.delete("requests", entry.digest);
  if (row && !there) return false; // answered already: by another tab, or the worker
  await auditRequest(tx, entry, operation, now, there ? outcome : GONE, by);
  return there;
}

/** @param {Transaction} tx @param {string} digest */
export async function finish(tx, digest) {
  const row = await tx.get("requests", digest);
  if (row?.state === "answered") await tx.put("requests", { ...row, state: "done" });
}

/** @param {Transaction} tx @param {RequestRow} entry @param {Operation} operation @param {number} now @param {string} outcome @param {string} by */
const auditRequest = (tx, entry, operation, now, outcome, by) =>
  audit(tx, now, "request", entry.key, {
    client_pubkey: entry.client, method: entry.method, param: entry.param,
    event_id: operation.eventId || entry.event.id, outcome, decided_by: by,
  });

/** @param {import("./policy.js").Grant} item */
const rule = (item) => (item.method ? `grant ${item.method}${item.param ? `:${item.param}` : ""}` : "");

/** The look-up is by SHA-256, so its time tells nothing about a secret that is nearly right. @param {string} secret */
const secretDigest = (secret) => toHex(sha256(utf8(secret)));
