/** Which relays this page is connected to: without one, no request arrives, and it has to say so. */

import { line } from "../../describe/plain.js";
import { h } from "./dom.js";

/** @typedef {import("../app.js").App} App */
/** @typedef {"none" | "connecting" | "cut" | "some" | "all"} State */
/** @typedef {{ state: State, lost: { url: string, error: string }[] }} Reach */

/** Return how it stands. @param {App} app @returns {Reach} */
export function reachOf(app) {
  const { all } = app.relays;
  const lost = all.filter((relay) => relay.failed).map(({ url, error }) => ({ url, error }));
  const connected = all.some((relay) => relay.listening);
  if (connected) return { state: lost.length ? "some" : "all", lost };
  if (lost.length) return { state: "cut", lost };
  return { state: all.length ? "connecting" : "none", lost };
}

/** Return what is shown in place of "Nothing is waiting" where that would not be true, or null. @param {App} app @param {Reach} reach */
export function unreachable(app, { state, lost }) {
  const { t } = app;
  if (state === "connecting") return h("section", { class: "empty" }, h("h1", {}, t("reach.connecting")));
  if (state === "none") {
    return h("section", { class: "empty" }, h("h1", {}, t("reach.none")), h("p", { class: "quiet" }, t("reach.none_text")),
      h("p", {}, h("a", { class: "button primary", href: "#relay" }, t("join.title"))));
  }
  if (state !== "cut") return null;
  return h("section", { class: "empty" }, h("h1", {}, t("reach.cut")), h("p", { class: "quiet" }, t("reach.cut_text")), named(lost));
}

/** Return a line above a question, or below "Nothing is waiting", where not all is well; or null. @param {App} app @param {Reach} reach @param {boolean} asked */
export function notice(app, { state, lost }, asked) {
  if (asked && (state === "cut" || state === "none")) return h("p", { class: "banner bad", role: "alert" }, app.t("reach.answer"));
  if (state !== "some") return null;
  return h("section", { class: "panel" }, h("p", {}, app.t("reach.some")), named(lost));
}

/** @param {Reach["lost"]} lost */
const named = (lost) =>
  h("ul", { class: "inner" }, lost.map(({ url, error }) => h("li", { class: "break" }, url, error && h("small", {}, line(error, 200)))));
