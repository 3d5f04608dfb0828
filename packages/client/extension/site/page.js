// window.nostr (NIP-07), in the page's own world. It knows nothing; content.js passes its calls on.
"use strict";
(() => {
  if (window.nostr) return; // another extension was first: the user has chosen it
  if (window.origin === "null") return; // a sandboxed page is no site that could be allowed anything
  const MAX_BYTES = 1000000; // of a call; what a browser passes to a program is bounded
  const FIELDS = ["kind", "content", "tags", "created_at", "pubkey"];
  const LONE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;
  const calls = new Map();
  let last = 0;

  // What a page hands over may be a proxy, have getters, functions, or no end: it is read here, as
  // the page sees it, and what can't be JSON fails here, with the page's own error.
  const plain = (params) => {
    const text = JSON.stringify(params);
    if (new TextEncoder().encode(text).length > MAX_BYTES) {
      throw new RangeError(`invalid: the call is larger than ${MAX_BYTES} bytes`);
    }
    return JSON.parse(text, (_key, value) => {
      if (typeof value === "string" && LONE.test(value)) {
        throw new TypeError("invalid: the text is not Unicode: it has half of a surrogate pair");
      }
      return value;
    });
  };

  const eventOf = (event) => {
    if (event === null || typeof event !== "object") throw new TypeError("invalid: no event");
    return Object.fromEntries(FIELDS.map((name) => [name, present(name, event[name])]));
  };

  // JSON leaves out a function (an app's signal that was not called) and a symbol, and has null for
  // what is no number: what is left would be signed.
  const present = (name, value) => {
    const lost = JSON.stringify(value) ?? "null";
    if (lost === "null" && value !== undefined && value !== null) throw new TypeError(`invalid: ${name} is a ${typeof value} that JSON has no word for`);
    return value;
  };

  const call = (method, read) =>
    new Promise((resolve, reject) => {
      const params = plain(read()); // what it throws rejects
      const id = (last += 1);
      calls.set(id, { resolve, reject });
      window.postMessage({ nostrBunker: "call", id, method, params }, window.location.origin);
    });

  window.addEventListener("message", (event) => {
    if (event.source !== window || event.data?.nostrBunker !== "reply") return;
    const waiting = calls.get(event.data.id);
    calls.delete(event.data.id);
    if (event.data.error !== undefined) waiting?.reject(new Error(event.data.error));
    else waiting?.resolve(event.data.result);
  });

  const cipher = (name) =>
    Object.freeze({
      encrypt: (pubkey, plaintext) => call(`${name}.encrypt`, () => [pubkey, plaintext]),
      decrypt: (pubkey, ciphertext) => call(`${name}.decrypt`, () => [pubkey, ciphertext]),
    });

  window.nostr = Object.freeze({
    getPublicKey: () => call("getPublicKey", () => []),
    getRelays: () => call("getRelays", () => []),
    signEvent: (event) => call("signEvent", () => [eventOf(event)]),
    nip04: cipher("nip04"),
    nip44: cipher("nip44"),
  });
})();
