/** The first run: a key, its seal, its recovery copy, and the relay that this phone signs for. */

import { random, toHex, unmoved, wipe } from "../bytes.js";
import { BunkerError } from "../errors.js";
import { isEncrypted, readKey } from "../nips/key_text.js";
import * as nip49 from "../nips/nip49.js";
import { authorization } from "../nips/nip98.js";
import { parseRelayUrl } from "../nips/relay_url.js";
import { Passkey } from "../nse/passkey.js";
import { Passphrase } from "../nse/passphrase.js";
import { seal } from "../nse/vault.js";
import { newSecret } from "../secp256k1.js";
import { audit } from "../signer/record.js";
import { LANGUAGES, textsFor } from "../texts/texts.js";
import { scan } from "./widgets/camera.js";
import { button, choice, field, h } from "./widgets/dom.js";

/** @typedef {import("./app.js").App} App */
const SHORTEST = 12; // characters of a passphrase
const ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"; // without what is mistaken on paper

/** @param {App} app */
export function firstRun(app) {
  const { t } = app;
  const place = h("section", { class: "narrow" });
  const welcome = () => place.replaceChildren(
    h("img", { src: "/icon-192.png", width: 72, height: 72, alt: "" }),
    h("h1", {}, t("welcome.title")),
    app.lost ? h("p", { class: "banner bad", role: "alert" }, t("welcome.lost")) : h("p", {}, t("welcome.text")),
    h("div", { class: "stack" },
      button(t("welcome.new"), () => {
        const secret = unmoved(32);
        newSecret(secret);
        sealing(secret);
      }, "primary big"),
      button(t("welcome.bring"), bring, "big"),
      choice(t("welcome.language"), LANGUAGES, app.texts.language, async (language) => {
        await app.database.set("language", language);
        app.texts = textsFor(language, []);
        app.frame();
        await app.draw();
      }).node));

  const bring = () => {
    const key = field(t("bring.key"), { type: "password" });
    const passphrase = field(t("bring.passphrase"), { type: "password" });
    passphrase.node.hidden = true;
    key.input.addEventListener("input", () => (passphrase.node.hidden = !isEncrypted(key.input.value)));
    const camera = h("div", { class: "stack" });
    place.replaceChildren(h("h1", {}, t("bring.title")), h("p", {}, t("bring.text")),
      h("div", { class: "stack" }, key.node, passphrase.node, camera,
        button(t("bring.scan"), async () => {
          const found = await scan(camera, { looking: t("camera.looking"), stop: t("pair.stop"), denied: t("camera.denied") });
          if (found) {
            key.input.value = found;
            key.input.dispatchEvent(new Event("input"));
          }
        }),
        button(t("bring.next"), () => app.attempt(async () => {
          const secret = unmoved(32);
          await readKey(key.input.value, passphrase.input.value, secret);
          app.curve.pubkey(secret); // in range
          key.input.value = passphrase.input.value = "";
          sealing(secret);
        }), "primary big")));
  };

  /** @param {Uint8Array} secret wiped when it is sealed */
  const sealing = (secret) => {
    const first = field(t("seal.passphrase"), { type: "password", autocomplete: "new-password" });
    const again = field(t("seal.again"), { type: "password", autocomplete: "new-password" });
    /** @param {() => any} make */
    const take = (make) => app.attempt(async () => {
      const protector = make();
      const now = app.signer.clock();
      const blob = await seal(app.curve, secret, [protector], now);
      const pubkey = toHex(app.curve.pubkey(secret));
      wipe(secret);
      await app.database.write(["keys", "audit"], async (tx) => {
        await tx.put("keys", { name: pubkey, blob, pubkey, created_at: now, recovered: false });
        await audit(tx, now, "key", pubkey, { decided_by: "owner" });
      });
      void navigator.storage?.persist?.();
      await app.loadKeys();
      await app.vaults.get(pubkey)?.unlock(protector, 600); // opened again before it is relied on
      protector.close();
      app.go("finish");
    });
    const passkeys = typeof PublicKeyCredential !== "undefined";
    place.replaceChildren(h("h1", {}, t("seal.title")),
      h("p", {}, t(passkeys ? "seal.text" : "seal.no_passkey")),
      h("div", { class: "stack" },
        passkeys && button(t("seal.passkey"), () => take(() => new Passkey()), "primary big"),
        h("details", { open: !passkeys }, h("summary", {}, t("seal.or")),
          h("div", { class: "stack" }, first.node, again.node,
            button(t("seal.button"), () => take(() => {
              if ([...first.input.value].length < SHORTEST) throw new BunkerError(t("seal.short"));
              if (first.input.value !== again.input.value) throw new BunkerError(t("seal.differ"));
              return new Passphrase(first.input.value);
            }))))));
  };

  welcome();
  return place;
}

/** The recovery copy: saved, and proven by its passphrase, before the key is used. @param {App} app @param {import("../signer/database.js").KeyRow} key */
export function finishKey(app, key) {
  const { t } = app;
  const place = h("section", { class: "narrow" });
  const passphrase = field(t("recovery.passphrase"), { value: newPassphrase() });
  const show = (/** @type {string} */ copy) => {
    let kept = false;
    const name = `recovery-${key.pubkey.slice(0, 8)}.txt`;
    const again = field(t("recovery.again"), {});
    const link = h("a", { class: "button big", download: name, href: URL.createObjectURL(new Blob([`${copy}\n`], { type: "text/plain" })), onclick: () => (kept = true) }, t("recovery.save"));
    place.replaceChildren(h("h1", {}, t("recovery.title")), h("p", {}, t("recovery.text")),
      h("div", { class: "stack" },
        h("label", {}, t("recovery.code"), h("textarea", { readonly: true, rows: 5 }, copy)),
        h("div", { class: "two" }, link, button(t("recovery.copy"), async () => {
          await navigator.clipboard.writeText(copy);
          kept = true;
          app.say(t("done.copied"));
        }, "big")),
        again.node,
        button(t("recovery.check"), () => app.attempt(async () => {
          if (!kept) throw new BunkerError(t("recovery.first_save"));
          const secret = unmoved(32);
          try {
            await nip49.decrypt(copy, again.input.value.trim(), secret);
            if (toHex(app.curve.pubkey(secret)) !== key.pubkey) throw new BunkerError("");
          } catch {
            throw new BunkerError(t("recovery.wrong"));
          } finally {
            wipe(secret);
          }
          await app.database.write(["keys"], (tx) => tx.put("keys", { ...key, recovered: true }));
          await app.loadKeys();
          await app.relock();
          const token = sessionStorage.getItem("join");
          app.go(token ? `join=${token}` : app.started.own().length ? "requests" : "relay");
        }), "primary big")));
  };
  place.append(h("h1", {}, t("recovery.title")), h("p", {}, t("recovery.text")),
    h("div", { class: "stack" }, passphrase.node,
      button(t("recovery.make"), () => app.attempt(async () => {
        const text = passphrase.input.value.trim();
        if ([...text].length < SHORTEST) throw new BunkerError(t("seal.short"));
        const vault = await app.unlock(key.pubkey, 600);
        show(await vault.recoveryCopy(text));
      }), "primary big")));
  return place;
}

/** Become a relay's signer by a one-time link, or name a relay that is run by hand. @param {App} app @param {string} token */
export function joinRelay(app, token) {
  const { t } = app;
  const place = h("section", { class: "narrow" });
  /** @param {string} found */
  const join = (found) => app.attempt(async () => {
    const url = `${location.origin}/join`;
    const body = JSON.stringify({ token: found, name: navigator.userAgent.includes("Android") ? "Android" : navigator.platform });
    const headers = { "Content-Type": "application/json", Authorization: await authorization(app.transport, url, "POST", body, app.signer.clock()) };
    const answer = await fetch(url, { method: "POST", headers, body });
    const said = await answer.json().catch(() => ({}));
    sessionStorage.removeItem("join");
    if (!answer.ok) throw new BunkerError(t("join.failed", { reason: said.error ?? answer.status }));
    await useRelays(app, said.relays.map(parseRelayUrl));
    history.replaceState(null, "", "#apps");
    await app.draw();
    app.say(t("join.done"));
  });
  if (token && !app.keys.some((key) => key.recovered)) {
    sessionStorage.setItem("join", token); // first the key, then the relay
    history.replaceState(null, "", "#");
    queueMicrotask(() => void app.draw());
    return place;
  }
  const link = field(t("join.link"), { type: "url" });
  const relay = field(t("join.relay"), { type: "url", placeholder: "wss://" });
  const camera = h("div", { class: "stack" });
  /** @param {string} text */
  const take = (text) => app.attempt(async () => {
    const url = new URL(text.trim());
    if (url.origin !== location.origin) throw new BunkerError(t("join.foreign", { origin: url.origin }));
    await join(url.hash.replace("#join=", ""));
  });
  place.append(h("h1", {}, t("join.title")));
  if (token) {
    place.append(h("p", {}, t("site.one_moment")));
    queueMicrotask(() => void join(token).then(() => app.route.name.startsWith("join=") && app.go("relay")));
    return place;
  }
  place.append(h("p", {}, t("join.text")), h("div", { class: "stack" },
    link.node, camera,
    h("div", { class: "two" },
      button(t("join.scan"), async () => {
        const found = await scan(camera, { looking: t("camera.looking"), stop: t("pair.stop"), denied: t("camera.denied") });
        if (found) await take(found);
      }),
      button(t("join.button"), () => take(link.input.value), "primary")),
    h("details", {}, h("summary", {}, t("join.by_hand")), h("div", { class: "stack" },
      h("p", {}, t("join.pubkey"), h("code", { class: "break block" }, app.transport.pubkey)), relay.node,
      button(t("done.saved"), () => app.attempt(async () => {
        await useRelays(app, [parseRelayUrl(relay.input.value)]);
        app.go("apps");
      }))))));
  return place;
}

/** @param {App} app @param {string[]} relays */
async function useRelays(app, relays) {
  await app.database.set("relays", relays);
  await app.started.connect();
}

/** 100 bits, to write down. */
function newPassphrase() {
  const drawn = random(20);
  const letters = [...drawn].map((byte) => ALPHABET[byte % 32]).join("");
  return /** @type {string[]} */ (letters.match(/.{4}/g)).join("-");
}
