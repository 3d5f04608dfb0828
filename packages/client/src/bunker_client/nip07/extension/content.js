// Between the page and the extension: the page can reach nothing of the browser but this.
"use strict";
const api = globalThis.browser ?? globalThis.chrome;

window.addEventListener("message", async (event) => {
  if (event.source !== window || event.data?.nostrBunker !== "call") return;
  const { id, method, params } = event.data;
  let reply;
  try {
    reply = await api.runtime.sendMessage({ type: "call", method, params });
  } catch {
    reply = { error: "error: the extension was restarted, reload the page" };
  }
  const { result, error } = reply ?? { error: "error: the extension does not answer" };
  window.postMessage({ nostrBunker: "reply", id, result, error }, window.location.origin);
});
