/** The audit log's chain: each entry holds the hash of the one before, as bunker_signer writes it. */

import { sha256 } from "@noble/hashes/sha2.js";
import { canonical, toHex, utf8 } from "../bytes.js";

export const GENESIS = "0".repeat(64);

/** @typedef {{ seq: number, at: number, action: string, key_name: string, client_pubkey: string, method: string, param: string, event_id: string, outcome: string, decided_by: string, previous: string, hash: string }} Entry */

/** Return the entry that follows `last`, with its hash. @param {Entry | undefined} last @param {number} at @param {string} action @param {string} key_name @param {Partial<Entry>} facts @returns {Entry} */
export function next(last, at, action, key_name, facts = {}) {
  const entry = {
    seq: (last?.seq ?? 0) + 1, at, action, key_name, client_pubkey: "", method: "", param: "", event_id: "",
    outcome: "", decided_by: "", ...facts, previous: last?.hash ?? GENESIS,
  };
  return { ...entry, hash: digest(entry) };
}

/** Check a chain in order; returns "" or at which entry it breaks. @param {Entry[]} entries */
export function fault(entries) {
  for (const [index, entry] of entries.entries()) {
    const before = entries[index - 1];
    if (before && (entry.seq !== before.seq + 1 || entry.previous !== before.hash)) return `entry ${entry.seq} does not follow the one before it`;
    const { hash, ...rest } = entry;
    if (digest(rest) !== hash) return `entry ${entry.seq} was changed`;
  }
  return "";
}

/** @param {Omit<Entry, "hash">} fields */
const digest = (fields) => toHex(sha256(utf8(canonical(fields))));
