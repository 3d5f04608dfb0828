/** The question: everything that a site says is shown as plain text, nothing of it is fetched. */

import { describe } from "../../../phone/web/describe/description.js";
import { nameOf as short } from "../../../phone/web/describe/known.js";
import { line } from "../../../phone/web/describe/plain.js";
import { detailPanel, fact } from "../../../phone/web/page/widgets/detail.js";
import { choice, field, h } from "../../../phone/web/page/widgets/dom.js";
import { ruleParam } from "../../../phone/web/signer/policy.js";
import { nameOf, send, textsOf } from "./common.js";
import { askPasskey, withoutPasskey } from "./passkey.js";

const GUARD = 400; // milliseconds: a window that pops up under a double click must not be answered
const ORIGIN = 120; // characters of it that are shown

async function show() {
  const question = await send("ask");
  if (!question) return window.close();
  const { id, origin, identity, operation, unlock, locked, native, identities, settings } = question;
  const passkey = locked && !withoutPasskey() ? question.passkey : null;
  const { action } = operation;
  const texts = textsOf(settings.language);
  const t = texts.get.bind(texts);
  const told = action.method === "get_public_key" ? null : describe(action, [operation], Math.floor(Date.now() / 1000));
  const host = line(origin.replace(/^https:\/\//, ""), ORIGIN);
  document.title = t("prompt.title", { origin: host });

  const who = choice(t("prompt.as"), identities.map((/** @type {any} */ item) => [item.id, nameOf(item, texts, short)]), identity.id);
  const everyone = field(t("prompt.everyone"), { type: "checkbox" });
  const passphrase = field(t("prompt.passphrase"), { type: "password" });
  const fallback = h("details", {}, h("summary", {}, t("passkey.instead")), passphrase.node);
  const failed = h("p", { class: "banner bad", role: "alert", hidden: true });
  const peers = told?.peer && !native && !unlock;

  const main = h("main", { tabindex: "0" },
    h("header", { class: "ask" },
      h("p", { class: "who" }, h("strong", { id: "origin" }, host)),
      h("h1", {}, told ? texts.say(told.title) : t("prompt.public_key")),
      h("p", { class: "quiet" }, t(unlock ? "prompt.unlock" : "prompt.as_who", { name: nameOf(identity, texts, short) }))),
    exposed(origin) && h("section", { class: "warning", id: "insecure", role: "note" }, h("p", {}, t("prompt.insecure"))),
    !told && h("section", { class: "panel" }, h("p", {}, t("prompt.public_key_text"))),
    told && told.warnings.length > 0 && h("section", { class: "warning" }, h("h2", {}, t("requests.look")), told.warnings.map((said) => h("p", {}, texts.say(said)))),
    told && told.where.length > 0 && h("section", { class: "panel" }, h("h2", {}, t("requests.where")), told.where.map((where) => h("p", { class: "break" }, where))),
    told?.details.map((detail) => detailPanel(texts, detail)),
    told && h("section", { class: "panel" }, h("dl", { class: "facts wide" },
      told.peer && fact(t("requests.peer"), told.peer),
      fact(t("requests.method"), action.kind === null ? action.method : `${action.method} · kind ${action.kind}`))));

  // Of a login that names no host, or several, no rule is made; the program has rules by kind.
  const ruled = native || !told || ruleParam(action) !== undefined;
  const buttons = (unlock || !ruled ? ["once", "deny"] : ["once", "hour", "always", "deny", "never"]).map((verdict) =>
    h("button", { type: "submit", value: verdict, class: { once: "primary big", deny: "deny" }[verdict] ?? "", disabled: true },
      t(unlock && verdict === "once" ? "prompt.open" : `prompt.${verdict}`)));
  const form = h("form", { class: "choices", "aria-label": t("answer.legend") },
    identities.length > 1 && who.node,
    locked && (passkey ? h("div", { class: "opener" }, h("p", {}, t("passkey.asked")), fallback) : passphrase.node),
    peers && !unlock && h("label", { class: "check" }, everyone.input, t("prompt.everyone")),
    failed,
    buttons,
    !unlock && ruled && h("p", { class: "quiet scope" }, t("prompt.scope")));
  form.addEventListener("submit", async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    for (const button of buttons) button.disabled = true;
    const verdict = /** @type {HTMLButtonElement} */ (event.submitter ?? buttons[0]).value;
    const answer = { verdict, anyone: everyone.input.checked, ...(identities.length > 1 && { identity: who.input.value }) };
    try {
      const byPasskey = passkey && !passphrase.input.value && !["deny", "never"].includes(verdict);
      const opener = byPasskey ? await askPasskey(identity.pubkey, passkey) : { passphrase: passphrase.input.value };
      await send("answer", { id, answer, opener });
      window.close();
    } catch (error) {
      failed.textContent = /** @type {Error} */ (error).message;
      failed.hidden = false;
      for (const button of buttons) button.disabled = false;
      fallback.open = true;
      passphrase.input.select();
    }
  });
  document.body.append(main, form); // only a whole question can be answered
  setTimeout(() => {
    for (const button of buttons) button.disabled = false;
    if (locked && !passkey) passphrase.input.focus();
    else form.querySelector("button.deny").focus();
  }, GUARD);
}

/** Tell whether others can read and change what a site shows: what comes from this machine, nobody can. @param {string} origin */
function exposed(origin) {
  const { protocol, hostname } = new URL(origin);
  return protocol === "http:" && !/^(127(\.\d+){3}|\[::1\]|(.+\.)?localhost)$/.test(hostname);
}

void show();
