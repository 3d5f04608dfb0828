/**
 * What an event would change: beside what it replaces, as far as that is known.
 *
 * A follow list is judged by who would be gone, a profile by its fields, a deletion by what was said.
 */

import { utf8 } from "../bytes.js";
import { dTag, isReplaced } from "../nips/event.js";
import { nameOf, NOTHING, placeOf } from "./known.js";
import { line, short } from "./plain.js";
import { sentence } from "./texts.js";

/** @typedef {import("../nips/event.js").Template} Template */
/** @typedef {import("./texts.js").Sentence} Sentence */
/** @typedef {import("./known.js").Known} Known */
/** @typedef {{ says: Sentence[], dangers: Sentence[] }} Change */

const NAMED = 8;
const FIELDS = 20;
const DELETED = 20;
const LOSS = 5; // a list may lose one in so many of its entries without a further question
const MANY = 5; // posts whose deletion is many
const SHORT = 160;
/** @type {Record<number, string[]>} */
const ENTRIES = { 3: ["p"], 10000: ["p", "e", "t", "word"], 10002: ["r"], 10050: ["relay"], 30000: ["p"] };
const NO_ENTRIES = ["d", "title", "name", "description", "image", "client", "alt", "expiration"];

/** Return what signing `event` would change. @param {Template} event @param {Known} known @returns {Change} */
export function changeOf(event, known = NOTHING) {
  const { kind } = event;
  if (kind === 0) return profile(event, known);
  if (kind === 5) return deletion(event, known);
  if (kind === 9734) return zap(event, known);
  if (kind === 24242) return upload(event);
  if (kind === 27235) return only(sentence("change.request", { method: line(first(event, "method", "?"), 20), url: line(first(event, "u", "?"), 240) }));
  // NIP-51: sets are 30000 to 30030 and a few more; articles and app data hold text.
  if (isReplaced(kind)) return kind < 20000 || kind in ENTRIES || (kind >= 30000 && kind <= 30007) ? list(event, known) : data(event, known);
  const mentioned = values(event, "p");
  if (mentioned.length && [1, 1111, 6, 7, 16].includes(kind)) return only(sentence("change.mentions", { names: some(mentioned.map((pubkey) => nameOf(pubkey, known))) }));
  return only();
}

/** Return the reason to ask twice before `count` posts are deleted. @param {number} count */
export const deletes = (count) => (count > MANY ? [sentence("warning.deletes_many", {}, count)] : []);

/** @param {...Sentence} says @returns {Change} */
const only = (...says) => ({ says, dangers: [] });
const loses = () => [sentence("warning.loses")];

/** @param {Template} event @param {Known} known @returns {Change} */
function list(event, known) {
  const old = known.events.get(placeOf(event));
  const now = entries(event);
  const says = [sentence(event.kind === 3 ? "change.follows" : "change.entries", {}, now.size)];
  const name = values(event, "d").find(Boolean);
  if (name) says.unshift(sentence("change.name", { name: line(name, SHORT) }));
  if (!old) {
    says.push(sentence("change.unknown"));
    if (now.size && now.size <= NAMED) says.push(sentence("change.new", { names: named([...now.values()], known) }, now.size));
    return only(...says);
  }
  const before = entries(old);
  const gone = [...before].flatMap(([text, entry]) => (now.has(text) ? [] : [entry]));
  const fresh = [...now].flatMap(([text, entry]) => (before.has(text) ? [] : [entry]));
  const difference = now.size - before.size;
  if (difference) says.push(sentence(difference < 0 ? "change.fewer" : "change.more", {}, Math.abs(difference)));
  else says.push(sentence(gone.length || fresh.length ? "change.as_many" : "change.nothing"));
  if (gone.length) says.push(sentence("change.gone", { names: named(gone, known) }, gone.length));
  if (fresh.length) says.push(sentence("change.new", { names: named(fresh, known) }, fresh.length));
  let dangers = gone.length * LOSS > before.size ? loses() : [];
  const [after, size] = [sizeOf(event), sizeOf(old)];
  if (after !== size && event.kind !== 3) { // kind 3 once kept relays there
    says.push(sentence("change.private", { after, before: size }));
    if (size && (size - after) * LOSS > size) dangers = loses();
  }
  return { says, dangers };
}

/** An article, or an app's data: by size. @param {Template} event @param {Known} known @returns {Change} */
function data(event, known) {
  const name = dTag(event);
  const says = name ? [sentence("change.name", { name: line(name, SHORT) })] : [];
  const old = known.events.get(placeOf(event));
  if (!old) return only(...says);
  const [after, before] = [sizeOf(event), sizeOf(old)];
  says.push(sentence("change.size", { after, before }));
  return { says, dangers: (before - after) * LOSS > before ? loses() : [] };
}

/** @param {Template} event @param {Known} known @returns {Change} */
function profile(event, known) {
  const fields = object(event.content);
  if (!fields) return { says: [sentence("change.not_json")], dangers: [sentence("warning.empty_profile")] };
  const old = known.events.get(placeOf(event));
  const before = (old && object(old.content)) ?? {};
  const says = [];
  for (const name of [...new Set([...Object.keys(before), ...Object.keys(fields)])].slice(0, FIELDS)) {
    const [was, after] = [shown(before[name]), shown(fields[name])];
    const field = line(name, 40);
    if (was === after) continue;
    if (!after) says.push(sentence("change.field_gone", { field, before: was }));
    else if (!was) says.push(sentence(old ? "change.field_new" : "change.field_is", { field, after }));
    else says.push(sentence("change.field", { field, after, before: was }));
  }
  if (!old) says.push(sentence("change.unknown"));
  else if (!says.length) says.push(sentence("change.nothing"));
  if (!Object.values(fields).some(shown)) return { says, dangers: [sentence("warning.empty_profile")] };
  const names = Object.keys(before);
  const lost = names.filter((name) => shown(before[name]) && !shown(fields[name]));
  return { says, dangers: lost.length * 2 > names.length ? loses() : [] };
}

/** @param {Template} event @param {Known} known @returns {Change} */
function deletion(event, known) {
  const wanted = [...values(event, "e"), ...values(event, "a")];
  const says = [sentence("change.deletes", {}, wanted.length)];
  for (const target of wanted.slice(0, DELETED)) {
    const text = known.notes.get(target);
    says.push(text === undefined ? sentence("change.deleted_unknown", { id: short(line(target, 200)) }) : sentence("change.deleted", { text: line(text, SHORT) }));
  }
  if (wanted.length > DELETED) says.push(sentence("line.more_items", { count: wanted.length - DELETED }));
  return { says, dangers: deletes(wanted.length) };
}

/** @param {Template} event @param {Known} known */
function zap(event, known) {
  const name = nameOf(first(event, "p", ""), known);
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

/** The entries of a list, in order and without doubles. A relay counts with its marker; what a person is called does not. @param {Template} event */
function entries(event) {
  const wanted = ENTRIES[event.kind];
  /** @type {Map<string, string[]>} */
  const found = new Map();
  for (const tag of event.tags) {
    if (tag.length < 2 || NO_ENTRIES.includes(tag[0]) || (wanted && !wanted.includes(tag[0]))) continue;
    const entry = tag.slice(0, tag[0] === "r" ? 3 : 2);
    const text = JSON.stringify(entry);
    if (!found.has(text)) found.set(text, entry);
  }
  return found;
}

/** @param {string[][]} found @param {Known} known */
const named = (found, known) =>
  some(found.map((entry) => {
    if (entry[0] === "p") return nameOf(entry[1], known);
    if (entry[0] === "e") return line(known.notes.get(entry[1]) ?? short(entry[1]), 60);
    return line(entry.slice(1).join(" "), 80);
  }));

/** @param {string[]} names */
function some(names) {
  const shown = names.slice(0, NAMED).join(", ");
  return names.length <= NAMED ? shown : sentence("change.and_more", { names: shown, count: names.length - NAMED });
}

/** @param {unknown} value */
function shown(value) {
  if (value === null || value === undefined || value === "") return "";
  return line(typeof value === "string" ? value : [...written(value)].slice(0, SHORT).join(""), SHORT);
}

/** @param {unknown} value */
function written(value) {
  try {
    return spaced(value);
  } catch {
    return "…"; // deeper than can be written, though it was read
  }
}

/** JSON with spaces, as Python writes it. @param {any} value @returns {string} */
function spaced(value) {
  if (Array.isArray(value)) return `[${value.map(spaced).join(", ")}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  return `{${Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${spaced(item)}`).join(", ")}}`;
}

/** @param {string} text @returns {Record<string, any> | null} */
function object(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

/** @param {Template} event */
const sizeOf = (event) => utf8(event.content).length;

/** @param {Template} event @param {string} name */
const values = (event, name) => event.tags.filter((tag) => tag.length > 1 && tag[0] === name).map((tag) => tag[1]);
/** @param {Template} event @param {string} name @param {string} none */
const first = (event, name, none) => values(event, name)[0] ?? none;
