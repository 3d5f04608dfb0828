/**
 * A request as facts: what it asks, where to, how many times, what to beware of.
 *
 * Held to bunker_core.describe by tests/phone/tables/descriptions.json: who is asked on the phone
 * sees what the console, the terminal and the notification show.
 */

import { encodeNpub } from "../nips/nip19.js";
import { changeOf, deletes } from "./change.js";
import { hosts, LOGIN_TAGS } from "./hosts.js";
import { nameOf, NOTHING } from "./known.js";
import { line, pieces } from "./plain.js";
import { DESCRIBE, sentence } from "./texts.js";

/** @typedef {import("./texts.js").Sentence} Sentence */
/** @typedef {import("../nips/event.js").Template} Template */
/** @typedef {import("../signer/policy.js").Action} Action */
/** @typedef {{ template: Template | null, text: string }} Asked */
/** @typedef {{ content: string, created_at: number | null, tags: string[][], changes: Sentence[] }} Detail */
/** @typedef {{ peer: string, count: number, title: Sentence, where: string[], details: Detail[], warnings: Sentence[], dangers: Sentence[] }} Description */

const ODD_TIME = 3600;
const FAR_TIME = 24 * 3600;
const LOOKED_AT = 120_000;
const DANGEROUS_KINDS = [0, 3, 5, 10002, 30078];
const RANGES = [[1630, 1633], [5000, 5999], [6000, 6999], [9000, 9030], [39000, 39009]];

/** Describe requests of one method and one kind (or peer). @param {Action} action @param {Asked[]} asked @param {number} now Unix seconds @param {import("./known.js").Known} known @returns {Description} */
export function describe(action, asked, now, known = NOTHING) {
  const templates = asked.flatMap(({ template }) => (template ? [template] : []));
  const changes = asked.map(({ template }) => (template ? changeOf(template, known) : { says: [], dangers: [] }));
  const wanted = action.kind === null ? undefined : LOGIN_TAGS[action.kind];
  const where = [...new Set(templates.flatMap((template) => template.tags.filter((tag) => wanted && tag.length > 1 && tag[0] === wanted).map((tag) => line(tag[1], 240))))];
  const off = Math.max(0, ...templates.map((template) => Math.abs(template.created_at - now)));
  /** @type {Map<string, Sentence>} */
  const dangers = new Map();
  /** @param {Sentence} said */
  const danger = (said) => dangers.set(JSON.stringify(said), said);
  if (action.kind === 5) {
    deletes(templates.flatMap(({ tags }) => tags).filter(([name]) => name === "e" || name === "a").length).forEach(danger);
  } else changes.forEach((change) => change.dangers.forEach(danger));
  if (action.kind === 62) danger(sentence("warning.kind_62"));
  if (off > FAR_TIME) danger(sentence("warning.far_date"));
  if (wanted && action.kind !== 24242 && !where.length) danger(sentence("warning.no_host"));
  const visited = known.hosts;
  if (wanted && visited) {
    const named = [...new Set(templates.flatMap(hosts))].sort();
    for (const host of named) if (!visited.has(host)) danger(sentence("warning.new_host", { host: line(host, 120) }));
  }
  const warnings = [];
  if (known.sameName) warnings.push(sentence("warning.same_name"));
  if (action.kind !== null && DANGEROUS_KINDS.includes(action.kind)) warnings.push(sentence(`warning.kind_${action.kind}`));
  if (action.method.endsWith("_decrypt")) warnings.push(sentence("warning.decrypt"));
  if (action.kind !== null && kindName(action.kind).key === "kind.unknown") warnings.push(sentence("warning.unknown_kind"));
  if (off > ODD_TIME && off <= FAR_TIME) warnings.push(sentence("warning.odd_date"));
  const texts = asked.map(({ template, text }) => template?.content ?? text);
  if (texts.some((text) => pieces(text.slice(0, LOOKED_AT)).some((piece) => piece.mark))) warnings.push(sentence("warning.invisible"));
  return {
    peer: action.peer ? encodeNpub(action.peer) : "", count: asked.length, title: title(action, asked.length, known), where,
    details: asked.map(({ template, text }, index) =>
      template
        ? { content: template.content, created_at: template.created_at, tags: template.tags, changes: changes[index].says }
        : { content: text, created_at: null, tags: [], changes: [] },
    ),
    warnings: [...warnings, ...dangers.values()], dangers: [...dangers.values()],
  };
}

/** Return what a request wants, as a person would say it. @param {Action} action @param {number} count @param {import("./known.js").Known} known @returns {Sentence} */
export function title(action, count = 1, known = NOTHING) {
  if (action.kind === null) {
    const verb = action.method.endsWith("_decrypt") ? "decrypt" : "encrypt";
    return sentence(`do.${verb}`, { peer: action.peer ? nameOf(action.peer, known) : "" }, count);
  }
  const what = kindName(action.kind);
  return count === 1 ? what : sentence("do.several", { what, count });
}

/** @param {number} kind */
function kindName(kind) {
  const first = RANGES.find(([low, high]) => low <= kind && kind <= high)?.[0] ?? kind;
  return `kind.${first}` in DESCRIBE.en ? sentence(`kind.${first}`) : sentence("kind.unknown", { kind });
}
