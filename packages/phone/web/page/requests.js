/** What waits for the owner: one question at a time, about what is shown and nothing else. */

import { describe, title } from "../describe/description.js";
import { line, short } from "../describe/plain.js";
import { encodeNpub } from "../nips/nip19.js";
import { shown } from "../signer/operation.js";
import { actionParam, ruleParam, sameAction } from "../signer/policy.js";
import { DEADLINE } from "../signer/signer.js";
import { detailPanel, fact } from "./widgets/detail.js";
import { button, h } from "./widgets/dom.js";
import { notice, reachOf, unreachable } from "./widgets/reach.js";
import { confirmDialog } from "./widgets/unlock.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {import("../signer/signer.js").Job} Job */
/** @typedef {import("../signer/database.js").ClientRow} ClientRow */
const ITEMS = 20;
const SETTLES = 350; // milliseconds before a question that appeared takes an answer

/** Return what is to be shown, and a word that changes with it. @param {App} app */
export async function requests(app) {
  const jobs = await app.signer.waiting();
  const open = jobs.filter((job) => job.entry.state === "open");
  // While its key is open, one is being carried out: there is nothing to unlock.
  const allowed = jobs.filter((job) => job.entry.state === "approved" && app.vaults.get(job.entry.key)?.locked !== false);
  const [first] = open;
  const group = first ? open.filter((job) => alike(job, first)).slice(0, ITEMS) : [];
  const [clients, paused] = await app.database.read(["clients", "settings"], async (tx) =>
    /** @type {const} */ ([/** @type {ClientRow[]} */ (await tx.all("clients")), Boolean(await tx.setting("paused"))]));
  const reach = reachOf(app);
  const known = first && (await app.started.known.of(group));
  if (first) {
    // It takes seconds at most; the question is shown meanwhile, and again with what was found.
    void app.lookup.ask((await app.database.setting("own_relays")) ?? [], group).then((news) => {
      if (!news) return;
      app.news++;
      void app.refresh();
    });
  }
  return {
    seen: [...group, ...allowed].map((job) => job.entry.digest).join() + JSON.stringify([open.length, clients.length, paused, reach, app.news]),
    make: () => [
      notice(app, reach, jobs.length > 0),
      allowed.length > 0 && lockedPanel(app, allowed),
      first && known ? question(app, group, open.length - group.length, known) : allowed.length === 0 && (unreachable(app, reach) ?? empty(app, clients.length, paused)),
    ],
  };
}

/** @param {Job} a @param {Job} b */
const alike = (a, b) => a.entry.client === b.entry.client && a.entry.key === b.entry.key && sameAction(a.operation.action, b.operation.action);

/** @param {App} app @param {number} clients @param {boolean} paused */
function empty(app, clients, paused) {
  if (paused) {
    return h("section", { class: "empty" }, h("h1", {}, app.t("requests.paused")), h("p", { class: "quiet" }, app.t("settings.pause_text")),
      h("p", {}, h("a", { class: "button primary", href: "#settings" }, app.t("nav.settings"))));
  }
  return h("section", { class: "empty" },
    h("h1", {}, app.t("requests.empty")),
    h("p", { class: "quiet" }, app.t(clients ? "requests.empty_more" : "requests.no_app")),
    !clients && h("p", {}, h("a", { class: "button primary", href: "#pair" }, app.t("apps.pair"))));
}

/** @param {App} app @param {Job[]} jobs */
function lockedPanel(app, jobs) {
  return h("section", { class: "panel" },
    h("h2", {}, app.t("requests.locked", { count: jobs.length })),
    button(app.t("requests.unlock"), () => app.attempt(async () => {
      await app.whileOpen(async () => {
        for (const key of new Set(jobs.map((job) => job.entry.key))) await app.unlock(key);
        await app.sweep();
      });
      await app.refresh();
    }), "primary"));
}

/** @param {App} app @param {Job[]} jobs @param {number} behind @param {import("../describe/known.js").Known} known */
function question(app, jobs, behind, known) {
  const { t, texts } = app;
  const { client, operation, entry } = jobs[0];
  const { action } = operation;
  const told = describe(action, jobs.map((job) => shown(job.operation)), app.signer.clock(), known);
  const name = line(client.name, 64) || t("apps.nameless");
  const until = Math.min(...jobs.map((job) => job.entry.received_at)) + DEADLINE;
  const left = h("span", { class: "left" });
  const tick = () => {
    if (left.isConnected || !timer) left.textContent = t("requests.left", { seconds: Math.max(0, until - app.signer.clock()) });
    else clearInterval(timer);
  };
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let timer;
  tick();
  timer = setInterval(tick, 1000);

  /** @param {"deny" | "once" | "always" | "never"} verdict @param {number | null} seconds */
  const answer = (verdict, seconds = null) => app.attempt(async () => {
    const allows = verdict === "once" || verdict === "always";
    if (allows && told.dangers.length) {
      const content = told.dangers.map((said) => h("p", {}, texts.say(said)));
      if (!(await confirmDialog(app, t("requests.sure"), content, t("answer.yes")))) return;
    }
    await app.whileOpen(async () => {
      if (allows) await app.unlock(entry.key);
      await app.signer.decide(jobs, { verdict, seconds, by: "owner" });
    });
    await app.refresh(); // before a button of what is answered can be tapped again
    app.say(t(allows ? "done.allowed" : "done.denied"), !allows);
  });
  const what = texts.say(title(action, 1, known));
  /** @param {string} key @param {"always" | "never"} verdict @param {number | null} seconds */
  const offer = (key, verdict, seconds) => {
    const element = button("", () => answer(verdict, seconds), "offer");
    element.append(h("strong", {}, t(`answer.${key}`)), h("small", {}, t("answer.spelt", { app: name, what: action.host ? `${what}: ${action.host}` : what })));
    return element;
  };
  const article = h("article", { "aria-labelledby": "asked" },
    h("header", { class: "ask" },
      h("p", { class: "who" }, h("strong", {}, name), " ", h("span", { class: "tag" }, t("requests.unverified")), left),
      h("h1", { id: "asked" }, texts.say(told.title))),
    told.warnings.length > 0 && h("section", { class: "warning" }, h("h2", {}, t("requests.look")), told.warnings.map((said) => h("p", {}, texts.say(said)))),
    told.where.length > 0 && h("section", { class: "panel" }, h("h2", {}, t("requests.where")), told.where.map((where) => h("p", { class: "break" }, where))),
    told.details.map((detail) => detailPanel(texts, detail)),
    h("section", { class: "panel" }, h("dl", { class: "facts wide" },
      fact(t("requests.app_key"), short(client.pubkey)),
      fact(t("requests.key"), [known.ownName, short(encodeNpub(entry.key))].filter(Boolean).join(", ")),
      told.peer && fact(t("requests.peer"), told.peer),
      fact(t("requests.method"), action.kind !== null || action.context ? `${action.method} · kind ${action.kind ?? actionParam(action)}` : action.method))),
    behind > 0 && h("p", { class: "quiet" }, t("requests.more", { count: behind })),
    h("section", { class: "answers", "aria-label": t("answer.legend") },
      // Of a login that names no host, or several, no rule is made.
      ruleParam(action) !== undefined && h("details", {}, h("summary", {}, t("answer.more")), h("div", { class: "offers" },
        offer("10m", "always", 600), offer("1h", "always", 3600), offer("always", "always", null), offer("never", "never", null))),
      h("div", { class: "two" },
        button(t("answer.deny"), () => answer("deny"), "deny big"),
        button(t("answer.once"), () => answer("once"), "allow big"))));
  // Who was about to tap on something else shall not have allowed this.
  const buttons = /** @type {NodeListOf<HTMLButtonElement>} */ (article.querySelectorAll(".answers button"));
  for (const element of buttons) element.disabled = true;
  setTimeout(() => buttons.forEach((element) => (element.disabled = false)), SETTLES);
  return article;
}
