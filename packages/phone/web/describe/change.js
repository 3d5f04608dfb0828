/**
 * What an event would change, as far as that is known. The phone keeps no events of its owner, so
 * this is what bunker_core.describe says of an owner of whom nothing is known.
 */

import { encodeNpub } from "../nips/nip19.js";
import { isHex } from "../bytes.js";
import { line, short } from "./plain.js";
import { sentence } from "./texts.js";

/** @typedef {import("../nips/event.js").Template} Template */
/** @typedef {import("./texts.js").Sentence} Sentence */
/** @typedef {{ says: Sentence[], dangers: Sentence[] }} Change */

const NAMED = 8;
const FIELDS = 20;
const DELETED = 20;
const MANY = 5; // posts whose deletion is many
const SHORT = 160;
/** @type {Record<number, string[]>} */
const ENTRIES = { 3: ["p"], 10000: ["p", "e", "t", "word"], 10002: ["r"], 10050: ["relay"], 30000: ["p"] };
const NO_ENTRIES = ["d", "title", "name", "description", "image", "client", "alt", "expiration"];

/** Return what signing `event` would change. @param {Template} event @returns {Change} */
export function changeOf(event) {
  const { kind } = event;
  if (kind === 0) return profile(event);
  if (kind === 5) return deletion(event);
  if (kind === 9734) return zap(event);
  if (kind === 24242) return upload(event);
  if (kind === 27235) return only(sentence("change.request", { method: line(first(event, "method", "?"), 20), url: line(first(event, "u", "?"), 240) }));
  const addressable = kind >= 30000 && kind < 40000;
  if (kind === 3 || (kind >= 10000 && kind < 20000) || addressable) {
    return kind < 20000 || kind in ENTRIES || (kind >= 30000 && kind <= 30007) ? list(event) : data(event);
  }
  const mentioned = values(event, "p");
  if (mentioned.length && [1, 1111, 6, 7, 16].includes(kind)) return only(sentence("change.mentions", { names: some(mentioned.map(nameOf)) }));
  return only();
}

/** Return the reason to ask twice before `count` posts are deleted. @param {number} count */
export const deletes = (count) => (count > MANY ? [sentence("warning.deletes_many", {}, count)] : []);

/** Return how a person is called whom nobody here knows. @param {string} pubkey */
export const nameOf = (pubkey) => (isHex(pubkey, 64) ? short(encodeNpub(pubkey)) : line(pubkey, 40));

/** @param {...Sentence} says @returns {Change} */
const only = (...says) => ({ says, dangers: [] });

/** @param {Template} event */
function list(event) {
  const wanted = ENTRIES[event.kind];
  /** @type {Map<string, string[]>} */
  const entries = new Map();
  for (const tag of event.tags) {
    if (tag.length < 2 || NO_ENTRIES.includes(tag[0]) || (wanted && !wanted.includes(tag[0]))) continue;
    const entry = tag.slice(0, tag[0] === "r" ? 3 : 2);
    entries.set(JSON.stringify(entry), entry);
  }
  const says = [sentence(event.kind === 3 ? "change.follows" : "change.entries", {}, entries.size)];
  const name = values(event, "d").find(Boolean);
  if (name) says.unshift(sentence("change.name", { name: line(name, SHORT) }));
  says.push(sentence("change.unknown"));
  if (entries.size && entries.size <= NAMED) {
    const names = [...entries.values()].map((entry) => {
      if (entry[0] === "p") return nameOf(entry[1]);
      if (entry[0] === "e") return line(short(entry[1]), 60);
      return line(entry.slice(1).join(" "), 80);
    });
    says.push(sentence("change.new", { names: some(names) }, entries.size));
  }
  return only(...says);
}

/** @param {Template} event */
function data(event) {
  const name = event.kind >= 30000 ? first(event, "d", "") : "";
  return name ? only(sentence("change.name", { name: line(name, SHORT) })) : only();
}

/** @param {Template} event @returns {Change} */
function profile(event) {
  let fields;
  try {
    fields = JSON.parse(event.content);
  } catch {
    fields = null;
  }
  if (fields === null || typeof fields !== "object" || Array.isArray(fields)) {
    return { says: [sentence("change.not_json")], dangers: [sentence("warning.empty_profile")] };
  }
  const says = [];
  for (const [name, value] of Object.entries(fields).slice(0, FIELDS)) {
    const after = shown(value);
    if (after) says.push(sentence("change.field_is", { field: line(name, 40), after }));
  }
  says.push(sentence("change.unknown"));
  const empty = !Object.values(fields).some(shown);
  return { says, dangers: empty ? [sentence("warning.empty_profile")] : [] };
}

/** @param {Template} event @returns {Change} */
function deletion(event) {
  const wanted = [...values(event, "e"), ...values(event, "a")];
  const says = [sentence("change.deletes", {}, wanted.length)];
  for (const target of wanted.slice(0, DELETED)) says.push(sentence("change.deleted_unknown", { id: short(line(target, 200)) }));
  if (wanted.length > DELETED) says.push(sentence("line.more_items", { count: wanted.length - DELETED }));
  return { says, dangers: deletes(wanted.length) };
}

/** @param {Template} event */
function zap(event) {
  const name = nameOf(first(event, "p", ""));
  const amount = first(event, "amount", "");
  if (!/^[0-9]{1,18}$/.test(amount)) return only(sentence("change.no_amount", { name }));
  const millisats = amount.replace(/^0+(?=.)/, "").padStart(4, "0");
  const rest = millisats.slice(-3);
  const sats = millisats.slice(0, -3) + (rest === "000" ? "" : `.${rest}`);
  return only(sentence("change.amount", { sats, name }));
}

/** @param {Template} event */
function upload(event) {
  return only(sentence("change.upload", { verb: line(first(event, "t", "?"), 40), until: when(first(event, "expiration", "")) }));
}

/** @param {string} text */
function when(text) {
  const seconds = /^\s*[+-]?\d+\s*$/.test(text.slice(0, 16)) ? Number(text.slice(0, 16)) : NaN;
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime()) || date.getUTCFullYear() > 9999 || date.getUTCFullYear() < 1) return line(text, 40) || "?";
  return `${date.toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

/** @param {string[]} names */
function some(names) {
  const shown = names.slice(0, NAMED).join(", ");
  return names.length <= NAMED ? shown : sentence("change.and_more", { names: shown, count: names.length - NAMED });
}

/** @param {unknown} value */
function shown(value) {
  if (value === null || value === undefined || value === "") return "";
  const text = typeof value === "string" ? value : [...JSON.stringify(value)].slice(0, SHORT).join("");
  return line(text, SHORT);
}

/** @param {Template} event @param {string} name */
const values = (event, name) => event.tags.filter((tag) => tag.length > 1 && tag[0] === name).map((tag) => tag[1]);
/** @param {Template} event @param {string} name @param {string} none */
const first = (event, name, none) => values(event, name)[0] ?? none;
