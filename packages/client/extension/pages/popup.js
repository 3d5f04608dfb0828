/** What the button in the browser's bar shows: what waits, and the way to the settings. */

import { button, h } from "../../../phone/web/page/widgets/dom.js";
import { api, send, textsOf } from "./common.js";

async function show() {
  const { identities, settings, waiting } = await send("state");
  const texts = textsOf(settings.language);
  const t = texts.get.bind(texts);
  document.body.replaceChildren(h("main", {},
    h("h1", {}, t("options.title")),
    identities.length > 0 && h("p", {}, waiting ? texts.number("popup.waiting", waiting) : t("popup.none")),
    h("div", { class: "stack" },
      waiting > 0 && button(t("popup.show"), async () => {
        await send("show");
        window.close();
      }, "primary"),
      identities.some((/** @type {any} */ item) => item.home === "sealed" && !item.locked) && button(t("popup.lock"), async () => {
        await send("lock");
        await show();
      }),
      button(t(identities.length ? "popup.settings" : "popup.setup"), async () => {
        await api.runtime.openOptionsPage();
        window.close();
      }, identities.length ? "" : "primary"))));
}

void show();
