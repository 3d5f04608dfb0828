// Between the page and the extension: the page can reach nothing of the browser but this.
"use strict";
const api = globalThis.browser ?? globalThis.chrome;
const MAX_CHARACTERS = 1000000; // of a call, as in page.js: a page can post a message by itself
// A page that is loaded anew in its tab may call before the browser says that the last one is gone.
const own = Array.from(crypto.getRandomValues(new Uint32Array(4))).join("-");
let page = null;
let waiting = 0; // calls without an answer

// Ends with this page, which the other end sees. The background may end sooner, and a page that
// rests in the browser's cache loses it: then the next call has a new one.
function connect() {
  page = api.runtime.connect({ name: own });
  page.onDisconnect.addListener(() => {
    page = null;
    if (waiting && api.runtime?.id) connect(); // a call was quicker than the news
  });
}

window.addEventListener("message", async (event) => {
  if (event.source !== window || event.data?.nostrBunker !== "call") return;
  if (window.origin === "null") return; // sandboxed: it has no name of its own
  const { id } = event.data;
  let reply;
  waiting += 1;
  try {
    // As JSON, which a call is: a buffer that a page would add goes no further than here.
    const text = JSON.stringify([event.data.method, event.data.params ?? null]);
    if (text.length > MAX_CHARACTERS) {
      reply = { error: `invalid: the call is larger than ${MAX_CHARACTERS} bytes` };
    } else {
      const [method, params] = JSON.parse(text);
      if (!page) connect();
      reply = await api.runtime.sendMessage({ type: "call", page: own, method, params });
    }
  } catch (error) {
    // Without an id this script is what a restarted extension left behind.
    const why = api.runtime?.id ? error.message : "the extension was restarted, reload the page";
    reply = { error: `error: ${why}` };
  }
  waiting -= 1;
  const { result, error } = reply ?? { error: "error: the extension does not answer" };
  window.postMessage({ nostrBunker: "reply", id, result, error }, window.location.origin);
});
