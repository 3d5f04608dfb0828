/**
 * The passkey of a sealed key: a page asks it, since the background can't.
 *
 * It belongs to the extension's own id, as `rp`. What it derives goes to the background encrypted
 * (homes/exchange.js) and is wiped here.
 */

import { same, wipe } from "../../../phone/web/bytes.js";
import { NSEError } from "../../../phone/web/errors.js";
import { Passkey } from "../../../phone/web/nse/passkey.js";
import { button, field, h } from "../../../phone/web/page/widgets/dom.js";
import { hand } from "../homes/exchange.js";
import { send } from "./common.js";

/** @typedef {import("../../../phone/web/nse/blob.js").Params} Params */
/** @typedef {import("./options.js").Options} Options */
/** @typedef {import("./options.js").Shown} Shown */

/** Return the name of the sentence that says why there is no passkey here; "" when there may be. */
export function withoutPasskey() {
  if (typeof PublicKeyCredential === "undefined") return "passkey.none";
  // Firefox has them for extensions at the names of web sites alone, and none of those is ours.
  return location.protocol === "chrome-extension:" ? "" : "passkey.no_origin";
}

/** Ask the passkey of a key; throws NSEError. @param {string} pubkey @param {Params} params @returns {Promise<import("../homes/sealed.js").Opener>} */
export async function askPasskey(pubkey, params) {
  return { passkey: await handed(params, await new Passkey().recover(params, pubkey)) };
}

/** Make a passkey, and ask it once more before it is relied on; throws NSEError. @param {string} pubkey */
async function makePasskey(pubkey) {
  const passkey = new Passkey();
  const { params, key } = await passkey.create(pubkey);
  try {
    const again = await passkey.recover(params, pubkey);
    const alike = same(key, again);
    wipe(again);
    if (!alike) throw new NSEError("the passkey derives something else each time: it can't open a key", "unavailable");
  } catch (error) {
    wipe(key);
    throw error;
  }
  return handed(params, key);
}

/** @param {Params} params @param {Uint8Array} key wiped here */
async function handed(params, key) {
  try {
    return { params, ...(await hand(await send("exchange"), key)) };
  } finally {
    wipe(key);
  }
}

/** What the settings say of the passkey of a sealed key, and let do with it. @param {Options} page @param {Shown} item */
export function passkeyPanel(page, { id, pubkey, passkey, locked }) {
  const { t } = page;
  const missing = withoutPasskey();
  if (missing && !passkey) return h("p", { class: "quiet no-passkey" }, t(missing));
  const { input, node } = field(t("prompt.passphrase"), { type: "password", class: "for-passkey", autocomplete: "current-password" });
  const opener = () => ({ passphrase: input.value });
  const add = () => page.attempt(async () => {
    await send("unlock", { id, opener: opener() }); // a wrong passphrase must not leave a passkey behind
    await send("add_passkey", { id, opener: opener(), passkey: await makePasskey(pubkey) });
  }, t("passkey.added"));
  const remove = () => page.attempt(() => send("remove_passkey", { id, opener: opener() }), t("passkey.removed"));
  const unlock = () => page.attempt(async () => send("unlock", { id, opener: await askPasskey(pubkey, /** @type {Params} */ (passkey)) }), t("passkey.open"));
  return h("div", { class: "stack" },
    passkey && locked && !missing && button(t("passkey.unlock"), unlock),
    h("details", {}, h("summary", {}, t(passkey ? "passkey.has" : "passkey.add")),
      h("div", { class: "stack" }, h("p", {}, t(passkey ? "passkey.remove_text" : "passkey.text")), node,
        passkey ? button(t("passkey.remove"), remove, "danger") : button(t("passkey.make"), add))));
}
