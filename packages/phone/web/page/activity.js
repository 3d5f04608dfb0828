/** The audit log: who asked what, and who decided. */

import { title } from "../describe/description.js";
import { line, short } from "../describe/plain.js";
import { fault } from "../signer/audit_chain.js";
import { FREE } from "../signer/policy.js";
import { when } from "./widgets/detail.js";
import { h } from "./widgets/dom.js";

const SHOWN = 100;

/** @param {import("./app.js").App} app */
export async function activity(app) {
  const { t, texts } = app;
  const [entries, clients] = await app.database.read(["audit", "clients"], async (tx) => [
    /** @type {import("../signer/audit_chain.js").Entry[]} */ (await tx.all("audit")),
    /** @type {import("../signer/database.js").ClientRow[]} */ (await tx.all("clients")),
  ]);
  const names = new Map(clients.map((client) => [client.pubkey, line(client.name, 40)]));
  const broken = fault(entries);
  /** @param {import("../signer/audit_chain.js").Entry} entry */
  const what = (entry) => {
    if (entry.action !== "request") return t(`activity.${entry.action}`);
    if (FREE.includes(entry.method)) return entry.method;
    const signs = entry.method === "sign_event";
    return texts.say(title({ method: entry.method, kind: signs ? Number(entry.param) : null, peer: signs ? null : entry.param }));
  };
  return [
    h("h1", {}, t("activity.title")),
    broken && h("p", { class: "banner bad", role: "alert" }, t("activity.fault", { fault: broken })),
    entries.length
      ? h("ul", { class: "list" }, entries.slice(-SHOWN).reverse().map((entry) => h("li", {}, h("div", { class: "row" },
          h("span", { class: "grow" }, h("strong", {}, what(entry)),
            h("small", {}, [names.get(entry.client_pubkey) || (entry.client_pubkey && short(entry.client_pubkey)), when(entry.at, texts.language)].filter(Boolean).join(" · "))),
          entry.outcome && h("span", { class: `outcome ${entry.outcome === "allowed" || entry.outcome === "allow" ? "good" : "bad"}` }, entry.outcome.split(":")[0])))))
      : h("p", { class: "quiet" }, t("activity.empty")),
    entries.length > 0 && !broken && h("p", { class: "quiet" }, t("activity.whole"), h("code", { class: "break block" }, entries[entries.length - 1].hash)),
  ];
}
