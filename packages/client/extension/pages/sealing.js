/** A key that is sealed in this browser: made or brought, its recovery copy saved. */

import { button, field, h } from "../../../phone/web/page/widgets/dom.js";
import { send } from "./common.js";

/** @typedef {import("./options.js").Options} Options */

/** @param {Options} page */
export function sealing(page) {
  const { t } = page;
  const key = field(t("options.key"), { type: "password", id: "key", autocomplete: "off" });
  const keyPassphrase = field(t("options.key_passphrase"), { type: "password", id: "key-passphrase", autocomplete: "off" });
  const [first, again] = [field(t("seal.passphrase"), { type: "password", id: "passphrase", autocomplete: "new-password" }), field(t("seal.again"), { type: "password", id: "again", autocomplete: "new-password" })];
  const seal = () => page.attempt(async () => {
    if (first.input.value !== again.input.value) throw new Error(t("seal.differ"));
    await send("seal", { key: key.input.value.trim(), keyPassphrase: keyPassphrase.input.value, opener: { passphrase: first.input.value } });
  }, t("done.sealed"));
  return h("section", { class: "panel" }, h("h2", {}, t("options.sealed")), h("p", {}, t("options.sealed_text")),
    h("div", { class: "stack" },
      h("details", {}, h("summary", {}, t("options.bring")), h("div", { class: "stack" }, key.node, keyPassphrase.node)),
      first.node, again.node, button(t("options.seal"), seal)));
}

/** The recovery copy: without it a new key is not used. @param {Options} page @param {{ id: string, pubkey: string, unsaved?: boolean }} item */
export function unsaved(page, item) {
  const { t } = page;
  const own = field(t("prompt.passphrase"), { type: "password", class: "own", autocomplete: "current-password" });
  const other = field(t("options.copy_passphrase"), { type: "password", class: "other", autocomplete: "new-password" });
  const place = h("div", { class: "stack" });
  const made = (/** @type {string} */ copy) => {
    const name = `recovery-${item.pubkey.slice(0, 8)}.txt`;
    place.replaceChildren(h("label", {}, t("recovery.code"), h("textarea", { readonly: true, rows: 4, class: "copy" }, copy)),
      h("a", { class: "button", download: name, href: URL.createObjectURL(new Blob([`${copy}\n`], { type: "text/plain" })) }, t("recovery.save")),
      item.unsaved ? button(t("options.saved"), () => page.attempt(() => send("saved", { id: item.id }), t("done.usable")), "primary") : "");
  };
  return h("div", { class: "stack" }, item.unsaved && h("p", { class: "warning" }, t("options.unsaved")), own.node, other.node,
    button(t("recovery.make"), async () => {
      try {
        made(await send("copy", { id: item.id, opener: { passphrase: own.input.value }, passphrase: other.input.value }));
      } catch (error) {
        page.say(/** @type {Error} */ (error).message, "bad");
      }
    }), place);
}
