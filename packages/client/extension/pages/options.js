/** The settings: who one is, what sites may do, what was asked. */

import { title } from "../../../phone/web/describe/description.js";
import { nameOf as short } from "../../../phone/web/describe/known.js";
import { line } from "../../../phone/web/describe/plain.js";
import { encodeNpub } from "../../../phone/web/nips/nip19.js";
import { when } from "../../../phone/web/page/widgets/detail.js";
import { button, choice, field, h } from "../../../phone/web/page/widgets/dom.js";
import { LANGUAGES } from "../../../phone/web/texts/texts.js";
import { adding } from "./adding.js";
import { nameOf, send, textsOf } from "./common.js";
import { passkeyPanel } from "./passkey.js";
import { sealing, unsaved } from "./sealing.js";

/** @typedef {import("../background/state.js").Grant} Grant */
/** @typedef {{ id: string, home: string, name: string, pubkey: string, unsaved?: boolean, locked: boolean, passkey: import("../../../phone/web/nse/blob.js").Params | null, relays: { url: string, ok: boolean | null, error: string }[] }} Shown */
/** @typedef {Omit<import("../background/state.js").Kept, "identities"> & { identities: Shown[], now: number, waiting: number }} View */

/** The page as it stands: what it shows, in which language, and how it is drawn again. */
export class Options {
  /** @param {View} view */
  constructor(view) {
    this.view = view;
    this.texts = textsOf(view.settings.language);
    this.t = this.texts.get.bind(this.texts);
  }

  async reload() {
    this.view = await send("state");
    this.texts = textsOf(this.view.settings.language);
    this.t = this.texts.get.bind(this.texts);
    this.draw();
  }

  draw() {
    const { view, t } = this;
    const main = /** @type {HTMLElement} */ (document.getElementById("main"));
    document.title = t("options.title");
    main.replaceChildren(
      h("h1", {}, t("options.title")), h("p", { class: "quiet" }, t("options.text")),
      h("h2", {}, t("options.who")),
      ...(view.identities.length ? view.identities.map((item) => this.#identity(item)) : [h("p", {}, t("options.nobody"))]),
      ...(view.identities.length ? [h("details", {}, h("summary", {}, t("options.another")), adding(this), sealing(this))] : [adding(this), sealing(this)]),
      h("h2", {}, t("options.sites")), this.#sites(),
      h("h2", {}, t("options.activity")), this.#activity(),
      h("h2", {}, t("options.settings")), this.#settings(),
    );
  }

  /** Say how something went, or goes. @param {string} text @param {"good" | "bad" | "quiet"} how */
  say(text, how = "good") {
    document.getElementById("said")?.replaceChildren(h("p", { class: `banner ${how}` }, text));
  }

  /** Do something, show what came of it, and how things stand then. @param {() => Promise<unknown>} work @param {string} done */
  async attempt(work, done) {
    document.getElementById("said")?.replaceChildren(); // of what was tried before
    try {
      await work();
      await this.reload();
      this.say(done);
    } catch (error) {
      this.say(line(/** @type {Error} */ (error).message, 300), "bad");
    }
  }

  /** @param {Shown} item */
  #identity(item) {
    const { t } = this;
    const name = field(t("options.name"), { value: item.name, maxlength: 64 });
    const called = nameOf(item, this.texts, short);
    return h("section", { class: "panel", "aria-label": called },
      h("h2", {}, called), h("p", { class: "quiet" }, t(`home.${item.home}`), item.home === "sealed" && ` · ${t(item.locked ? "options.locked" : "options.unlocked")}`),
      item.pubkey && h("p", { class: "break" }, h("code", {}, encodeNpub(item.pubkey))),
      item.relays.map(({ url, ok, error }) => h("div", { class: "between" }, h("span", { class: "break" }, line(url, 120)),
        h("span", { class: `outcome ${ok === false ? "bad" : ok ? "good" : ""}` }, ok === null ? t("options.idle") : ok ? t("options.connected") : line(error, 80)))),
      item.unsaved ? unsaved(this, item) : item.home === "sealed" && h("details", {}, h("summary", {}, t("options.export")), unsaved(this, item)),
      item.home === "sealed" && !item.unsaved && passkeyPanel(this, item),
      h("div", { class: "stack" }, name.node, h("div", { class: "two" },
        button(t("options.rename"), () => this.attempt(() => send("rename", { id: item.id, name: name.input.value }), t("done.saved"))),
        button(t("options.remove"), async () => {
          if (confirm(t("options.sure", { name: called }))) await this.attempt(() => send("remove", { id: item.id }), t("done.removed"));
        }, "danger"))));
  }

  #sites() {
    const { view, t, texts } = this;
    const names = Object.keys(view.sites).sort();
    if (!names.length) return h("p", { class: "quiet" }, t("options.no_sites"));
    const people = /** @type {[string, string][]} */ ([["", t("options.all")], ...view.identities.map((item) => /** @type {[string, string]} */ ([item.id, nameOf(item, texts, short)]))]);
    return h("ul", { class: "list" }, names.map((origin) => {
      const { grants, identity } = view.sites[origin];
      const live = grants.filter(({ expires_at }) => expires_at === null || expires_at > view.now);
      const as = choice(t("options.as"), people, identity, (value) => void this.attempt(() => send("choose", { origin, identity: value }), t("done.saved")));
      return h("li", { class: "site" }, h("strong", { class: "break" }, line(origin, 200)),
        live.map((grant) => h("div", { class: "between" }, h("span", { class: "grow" }, this.#grant(grant)),
          button(t("options.take"), () => this.attempt(() => send("forget", { origin, grant }), t("done.removed")), "small"))),
        view.identities.length > 1 && as.node,
        button(t("options.forget"), () => this.attempt(async () => {
          await send("forget", { origin });
          await send("choose", { origin, identity: "" });
        }, t("done.removed")), "small"));
    }));
  }

  /** @param {Grant} grant */
  #grant({ method, param, effect, expires_at }) {
    const { t, texts } = this;
    const [number, ...host] = method === "sign_event" && param !== null ? param.split(":") : [];
    const kind = number === undefined ? null : Number(number);
    const where = host.length ? ` (${line(host.join(":"), 80)})` : "";
    const anyone = kind === null && param === null && t(method.endsWith("_decrypt") ? "options.decrypt_any" : "options.encrypt_any");
    const what = method === "get_public_key" ? t("options.public_key") : anyone || texts.say(title({ method, kind, peer: param }));
    const how = effect === "deny" ? t("options.never") : expires_at === null ? t("options.allowed") : t("options.until", { when: when(expires_at, texts.language) });
    return `${what}${where}: ${how}`;
  }

  #activity() {
    const { view, t, texts } = this;
    if (!view.activity.length) return h("p", { class: "quiet" }, t("options.nothing"));
    return h("ul", { class: "list" }, view.activity.slice(-50).reverse().map(({ at, origin, what, outcome }) =>
      h("li", { class: "row" }, h("span", { class: "grow break" }, what ? texts.say(what) : t("options.public_key"), h("small", {}, `${line(origin, 120)} · ${when(at, texts.language)}`)),
        h("span", { class: `outcome ${outcome === "allowed" ? "good" : "bad"}` }, t(`outcome.${outcome}`)))));
  }

  #settings() {
    const { view: { settings, identities }, t, texts } = this;
    const minutes = choice(t("options.minutes"), ["5", "15", "60", "480"].map((value) => /** @type {[string, string]} */ ([value, texts.number("options.after", Number(value))])), String(settings.minutes));
    const language = choice(t("options.language"), [["", t("options.browser")], ...LANGUAGES], settings.language);
    const relays = field(t("options.told"), { tag: "textarea", rows: 3, value: settings.relays.join("\n") });
    const people = identities.map((item) => /** @type {[string, string]} */ ([item.id, nameOf(item, texts, short)]));
    const identity = choice(t("options.default"), people, settings.identity || (identities[0]?.id ?? ""));
    return h("section", { class: "panel" }, h("div", { class: "stack" }, identities.length > 1 && identity.node, identities.some((item) => item.home === "sealed") && minutes.node, language.node, relays.node,
      button(t("options.save"), () => this.attempt(() => send("settings", {
        settings: { language: language.input.value, minutes: minutes.input.value, relays: relays.input.value.split(/\s+/).filter(Boolean), identity: identity.input.value },
      }), t("done.saved")), "primary")));
  }
}

const options = new Options(await send("state"));
options.draw();
