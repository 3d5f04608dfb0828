/** What would be signed or encrypted, shown: a stranger's text, with what is invisible made visible. */

import { line, pieces } from "../../describe/plain.js";
import { h } from "./dom.js";

const HEAD = 1200; // characters that are shown at once
const LIMIT = 120_000;
const TAGS = 60;

/** @param {import("../../describe/texts.js").Texts} texts @param {import("../../describe/description.js").Detail} detail */
export function detailPanel(texts, detail) {
  if (detail.created_at === null && !detail.content) return null;
  const t = texts.get.bind(texts);
  const content = h("p", { class: "content" }, detail.content ? marked(detail.content.slice(0, HEAD)) : t("requests.no_content"));
  const rest = detail.content.length > HEAD && h("details", {}, h("summary", {}, t("requests.rest")), h("p", { class: "content" }, marked(detail.content.slice(HEAD, LIMIT))));
  return h("section", { class: "panel" },
    h("h2", {}, t("requests.content")),
    detail.changes.map((said) => h("p", {}, texts.say(said))), content, rest,
    detail.tags.length > 0 && h("details", {}, h("summary", {}, `${t("requests.tags")} (${detail.tags.length})`),
      h("ul", { class: "tags" }, detail.tags.slice(0, TAGS).map((tag) => h("li", {}, tag.slice(0, 12).map((value) => h("code", {}, line(value, 240))))))),
    h("p", { class: "quiet" }, t("requests.size", { n: new TextEncoder().encode(detail.content).length }),
      detail.created_at !== null && ` · ${t("requests.dated")} ${when(detail.created_at, texts.language)}`));
}

/** @param {string} text */
const marked = (text) => pieces(text).map((piece) => (piece.mark ? h("span", { class: "mark" }, piece.text) : piece.text));

/** @param {string} name @param {string} value */
export const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", { class: "break" }, value));

/** @param {number} seconds @param {string} language */
export function when(seconds, language) {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? String(seconds) : date.toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });
}
