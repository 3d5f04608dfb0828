/** One more identity: pair with a signer by its address or by a code of ours, or use the program. */

import { encode } from "uqr";
import { button, drawCode, field, h } from "../../../phone/web/page/widgets/dom.js";
import { api, send } from "./common.js";

/** @param {import("./options.js").Options} page */
export function adding(page) {
  const { t } = page;
  const uri = field(t("options.uri"), { tag: "textarea", rows: 2, id: "uri" });
  const relay = field(t("options.relay"), { type: "url", placeholder: "wss://relay.example.org", id: "relay" });
  const code = h("div", {});

  const pair = () => page.attempt(async () => {
    page.say(t("options.pairing"), "quiet");
    await send("pair", { uri: uri.input.value });
  }, t("done.paired"));

  const invite = () => page.attempt(async () => {
    const address = await send("invite", { relays: relay.input.value.split(/\s+/).filter(Boolean) });
    code.replaceChildren(h("p", {}, t("options.scan")),
      h("div", { class: "code" }, drawCode(encode(address, { ecc: "L", border: 2 }).data, t("options.scan"))),
      h("label", {}, t("options.copy"), h("textarea", { readonly: true, rows: 4, id: "invitation" }, address)));
    await send("invited");
  }, t("done.paired"));

  const native = () => page.attempt(async () => {
    // Asked for now that it is wanted, and by this click: a browser takes no other way.
    if (!(await api.permissions.request({ permissions: ["nativeMessaging"] }))) throw new Error(t("options.no_leave"));
    await send("native");
  }, t("done.saved"));

  return h("div", {},
    h("section", { class: "panel" }, h("h2", {}, t("options.remote")), h("p", {}, t("options.remote_text")),
      h("div", { class: "stack" }, uri.node, button(t("options.pair"), pair, "primary"),
        h("p", {}, t("options.code_text")), relay.node, button(t("options.code"), invite), code)),
    page.view.identities.every((item) => item.home !== "native") && h("section", { class: "panel" }, h("h2", {}, t("options.native")),
      h("p", {}, t("options.native_text")), button(t("options.native_button"), native)));
}
