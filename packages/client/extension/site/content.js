// Between the page and the extension: the page can reach nothing of the browser but this.
"use strict";
const api = globalThis.browser ?? globalThis.chrome;
let page = null;

window.addEventListener("message", async (event) => {
  if (event.source !== window || event.data?.nostrBunker !== "call") return;
  if (window.origin === "null") return; // sandboxed: it has no name of its own
  const { id, method, params } = event.data;
  let reply;
  try {
    page ??= api.runtime.connect({ name: "page" }); // ends with this page, which the other end sees
    reply = await api.runtime.sendMessage({ type: "call", method, params });
  } catch (error) {
    // Without an id this script is what a restarted extension left behind.
    const why = api.runtime?.id ? error.message : "the extension was restarted, reload the page";
    reply = { error: `error: ${why}` };
  }
  const { result, error } = reply ?? { error: "error: the extension does not answer" };
  window.postMessage({ nostrBunker: "reply", id, result, error }, window.location.origin);
});
