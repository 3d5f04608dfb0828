/** Pairing both ways: a bunker:// code of ours, or an app's nostrconnect:// code. */

import { encode } from "uqr";
import { line, short } from "../describe/plain.js";
import { BunkerError } from "../errors.js";
import { bunkerUri, newSecret, parseNostrConnect } from "../nips/bunker_uri.js";
import { encodeNpub } from "../nips/nip19.js";
import { responseText } from "../nips/nip46.js";
import { profileGrants } from "../signer/policy.js";
import * as record from "../signer/record.js";
import { scan } from "./widgets/camera.js";
import { fact } from "./widgets/detail.js";
import { button, choice, drawCode, field, h } from "./widgets/dom.js";

/** @typedef {import("./app.js").App} App */
const READY = 6000; // milliseconds for a relay to answer

/** @param {App} app @param {string} given a nostrconnect URI in the address, percent-encoded */
export function pairing(app, given) {
  const { t } = app;
  const place = h("section", {});
  const keys = app.keys.filter((key) => key.recovered).map((key) => /** @type {[string, string]} */ ([key.pubkey, short(encodeNpub(key.pubkey))]));
  const profiles = /** @type {[string, string][]} */ ([["ask", t("pair.ask")], ["basic", t("pair.basic")], ["full", t("pair.full")]]);
  const profile = choice(t("pair.profile"), profiles, "ask");
  const key = choice(t("pair.key"), keys, keys[0]?.[0] ?? "");
  const uri = field(t("pair.uri"), { tag: "textarea", rows: 3 });
  const camera = h("div", { class: "stack" });
  const grants = () => profileGrants(profile.input.value);

  const show = () => app.attempt(async () => {
    const relays = app.started.own();
    // Whoever has the code may ask at once: first we listen, then it is shown.
    const ready = await Promise.allSettled(app.relays.all.filter((relay) => relays.includes(relay.url)).map((relay) => relay.ready(READY)));
    if (!ready.some((item) => item.status === "fulfilled")) throw new BunkerError(t("pair.no_relay"));
    const secret = newSecret();
    await app.database.write(["secrets"], (tx) => record.addSecret(tx, key.input.value, secret, grants(), relays, app.signer.clock()));
    const code = bunkerUri(app.transport.pubkey, relays, secret);
    place.replaceChildren(h("h1", {}, t("pair.code_title")), h("p", {}, t("pair.code_text")),
      h("div", { class: "code" }, drawCode(encode(code, { ecc: "L", border: 2 }).data, t("pair.code_title"))),
      h("div", { class: "stack" },
        h("label", {}, t("pair.copy"), h("textarea", { readonly: true, rows: 4, id: "bunker-uri" }, code)),
        button(t("pair.copy"), async () => {
          await navigator.clipboard.writeText(code);
          app.say(t("done.copied"));
        }, "primary"),
        h("a", { class: "button", href: "#apps" }, t("apps.back"))));
  });

  /** @param {string} text */
  const review = (text) => app.attempt(async () => {
    const asked = parseNostrConnect(text);
    place.replaceChildren(h("h1", {}, t("pair.review")), h("p", {}, t("pair.review_text")),
      h("section", { class: "panel" }, h("dl", { class: "facts wide" },
        fact(t("apps.name"), line(asked.metadata.name, 64) || t("apps.nameless")),
        asked.metadata.url && fact(t("apps.url"), line(asked.metadata.url, 120)),
        fact(t("requests.app_key"), short(asked.client)),
        fact(t("pair.over"), asked.relays.join(" ")),
        asked.requested && fact(t("apps.wished"), line(asked.requested, 240)))),
      h("div", { class: "stack" }, keys.length > 1 && key.node, profile.node,
        h("div", { class: "two" },
          h("a", { class: "button big", href: "#apps" }, t("pair.cancel")),
          button(t("pair.accept"), () => app.attempt(() => accept(app, asked, key.input.value, grants())), "primary big"))));
  });

  place.append(h("h1", {}, t("pair.title")),
    h("div", { class: "stack" }, keys.length > 1 && key.node, profile.node),
    h("h2", {}, t("pair.show_title")), h("p", {}, t("pair.show_text")),
    button(t("pair.show"), show, "primary big"),
    h("h2", {}, t("pair.take_title")), h("p", {}, t("pair.take_text")),
    h("div", { class: "stack" }, camera,
      button(t("pair.scan"), async () => {
        const found = await scan(camera, { looking: t("camera.looking"), stop: t("pair.stop"), denied: t("camera.denied") });
        if (found) await review(found);
      }, "big"),
      uri.node, button(t("pair.next"), () => review(uri.input.value), "big")));
  if (given) queueMicrotask(() => void review(decodeURIComponent(given)));
  return place;
}

/** Admit the app, listen on its relays, and only then tell it: the secret proves who we are. @param {App} app @param {import("../nips/bunker_uri.js").NostrConnect} asked @param {string} key @param {import("../signer/policy.js").Grant[]} grants */
async function accept(app, asked, key, grants) {
  const now = app.signer.clock();
  await app.database.write(record.ALL, (tx) =>
    record.addClient(tx, key, asked.client, asked.metadata, asked.relays, asked.requested, grants, now, "owner"));
  await app.started.connect();
  const relays = app.relays.all.filter((relay) => asked.relays.includes(relay.url));
  await Promise.any(relays.map((relay) => relay.ready(READY))).catch(() => {});
  const text = responseText({ id: newSecret(), result: asked.secret ?? "ack" });
  const content = await app.transport.seal(asked.client, text, "nip44");
  const sent = await app.relays.send({ client: asked.client, content, relays: asked.relays, notBefore: 0, digest: "" }, now);
  if (app.route.name === "pair") app.go("apps"); // who has gone on meanwhile is not fetched back
  app.say(app.t(sent ? "pair.paired" : "pair.silent"), !sent);
}
