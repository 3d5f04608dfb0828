/** Asking for the passphrase of a key. */

import { NSEError } from "../../errors.js";
import { field, h } from "./dom.js";

/** @param {import("../app.js").App} app @returns {Promise<string>} */
export function unlockDialog(app) {
  const { input, node } = field(app.t("unlock.passphrase"), { type: "password", autocomplete: "current-password", required: true });
  return new Promise((resolve, reject) => {
    const dialog = h("dialog", { "aria-labelledby": "unlock-title" },
      h("form", { method: "dialog", class: "stack", onsubmit: () => resolve(input.value) },
        h("h2", { id: "unlock-title" }, app.t("unlock.title")), node,
        h("div", { class: "two" },
          h("button", { type: "button", onclick: () => dialog.close() }, app.t("pair.cancel")),
          h("button", { class: "primary" }, app.t("unlock.button")))));
    dialog.addEventListener("close", () => {
      input.value = "";
      dialog.remove();
      reject(new NSEError(app.t("settings.locked"), "locked"));
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Ask a question that is answered by yes or no. @param {import("../app.js").App} app @param {string} title @param {any[]} content @param {string} yes @returns {Promise<boolean>} */
export function confirmDialog(app, title, content, yes) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-labelledby": "confirm-title" },
      h("h2", { id: "confirm-title" }, title), ...content,
      h("div", { class: "two" },
        h("button", { type: "button", onclick: () => dialog.close() }, app.t("answer.no")),
        h("button", { type: "button", class: "danger", onclick: () => { resolve(true); dialog.close(); } }, yes)));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(false);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
