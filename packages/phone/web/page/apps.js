/** The paired apps: what each may do, and how to end it. */

import { title } from "../describe/description.js";
import { line, short } from "../describe/plain.js";
import { OF_A_SCOPE } from "../nips/nip46.js";
import * as record from "../signer/record.js";
import { fact, when } from "./widgets/detail.js";
import { button, field, h } from "./widgets/dom.js";
import { confirmDialog } from "./widgets/unlock.js";

/** @typedef {import("./app.js").App} App */
/** @typedef {import("../signer/database.js").ClientRow} ClientRow */

/** Return the list of them, and a word that changes with it. @param {App} app */
export async function apps(app) {
  const { t } = app;
  /** @type {ClientRow[]} */
  const clients = await app.database.read(["clients"], (tx) => tx.all("clients"));
  clients.sort((a, b) => b.last_seen - a.last_seen);
  const make = () => [
    h("div", { class: "head" }, h("h1", {}, t("apps.title")), h("a", { class: "button primary", href: "#pair" }, t("apps.pair"))),
    clients.length
      ? h("ul", { class: "list" }, clients.map((client) => h("li", {},
          h("a", { class: "row", href: `#apps/${client.pubkey}` },
            h("span", { class: "grow" }, h("strong", {}, line(client.name, 64) || t("apps.nameless")), h("small", {}, short(client.pubkey))),
            h("span", { class: "chevron", "aria-hidden": "true" })))))
      : h("p", { class: "quiet" }, t("apps.empty")),
  ];
  return { seen: clients.map((client) => `${client.pubkey} ${client.name}`).join(), make };
}

/** @param {App} app @param {string} pubkey */
export async function appDetail(app, pubkey) {
  const { t, texts } = app;
  const [client, grants] = await app.database.read(["clients", "grants"], async (tx) => [
    /** @type {ClientRow | undefined} */ (await tx.get("clients", pubkey)),
    /** @type {import("../signer/database.js").GrantRow[]} */ (await tx.all("grants", "client", pubkey)),
  ]);
  const back = h("p", {}, h("a", { class: "back", href: "#apps" }, t("apps.back")));
  if (!client) return [back, h("h1", {}, t("apps.empty"))];
  const now = () => app.signer.clock();
  const name = field(t("apps.name"), { value: client.name, maxlength: 64 });
  return [
    back, h("h1", { class: "break" }, line(client.name, 64) || t("apps.nameless")),
    h("section", { class: "panel" }, h("dl", { class: "facts wide" },
      fact(t("requests.app_key"), short(client.pubkey)),
      client.url && fact(t("apps.url"), line(client.url, 120)),
      fact(t("apps.last"), when(client.last_seen, texts.language)),
      fact(t("apps.paired"), when(client.paired_at, texts.language)),
      client.requested && fact(t("apps.wished"), line(client.requested, 240)))),
    h("section", { class: "panel" }, h("h2", {}, t("apps.may")),
      grants.length
        ? h("ul", { class: "inner" }, grants.map((grant) => h("li", { class: "between" },
            h("span", {}, grantWords(app, grant)),
            button(t("apps.take"), () => app.attempt(async () => {
              await app.database.write(record.ALL, async (tx) => {
                await tx.delete("grants", /** @type {number} */ (grant.id));
                await record.audit(tx, now(), "revoke_grant", client.key, { client_pubkey: pubkey, method: grant.method, param: grant.param ?? "" });
              });
              await app.draw();
            }), "small"))))
        : h("p", {}, t("apps.nothing"))),
    h("section", { class: "panel stack" }, name.node, button(t("apps.rename"), () => app.attempt(async () => {
      await app.database.write(record.ALL, async (tx) => {
        const row = await tx.get("clients", pubkey);
        if (row) await tx.put("clients", { ...row, name: line(name.input.value, 64), renamed: true });
        await record.audit(tx, now(), "rename", client.key, { client_pubkey: pubkey });
      });
      await app.draw();
      app.say(t("done.saved"));
    }))),
    h("section", { class: "panel" }, h("h2", {}, t("apps.revoke")), h("p", {}, t("apps.revoke_hint")),
      button(t("apps.revoke"), async () => {
        if (!(await confirmDialog(app, t("apps.revoke"), [h("p", {}, t("apps.revoke_hint"))], t("apps.revoke")))) return;
        await app.database.write(record.ALL, (tx) => record.removeClient(tx, pubkey, "revoke", now(), "owner"));
        await app.started.connect();
        app.go("apps");
      }, "danger")),
  ];
}

/** Of one kind, one host, one peer, or one kind and scope of NIP-44 version 3. @param {import("../describe/texts.js").Texts} texts @param {string} method @param {string} param */
function granted(texts, method, param) {
  if (OF_A_SCOPE.includes(method)) return line(`${method} ${param}`);
  if (method !== "sign_event") return texts.say(title({ method, kind: null, peer: param }));
  const [kind, host] = param.split(/:(.*)/s);
  const what = texts.say(title({ method, kind: Number(kind), peer: null }));
  return host ? `${what}: ${line(host)}` : what;
}

/** @param {App} app @param {import("../signer/policy.js").Grant} grant */
function grantWords(app, grant) {
  const { t, texts } = app;
  const signs = grant.method === "sign_event";
  let what = line(`${grant.method} ${grant.param ?? ""}`);
  if (signs || grant.method.endsWith("crypt")) {
    what = grant.param === null
      ? t(signs ? "grant.any_kind" : `grant.any_${grant.method.split("_")[1]}`)
      : granted(texts, grant.method, grant.param);
  }
  const limits = [
    grant.expires_at !== null && t("grant.until", { when: when(grant.expires_at, texts.language) }),
    grant.uses_left !== null && texts.number("grant.uses", grant.uses_left),
  ].filter(Boolean);
  return [grant.effect === "deny" ? t("grant.never", { what }) : what, ...limits].join(", ");
}
