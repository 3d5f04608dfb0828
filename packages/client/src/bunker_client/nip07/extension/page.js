// window.nostr (NIP-07), in the page's own world. It knows nothing; content.js passes its calls on.
"use strict";
(() => {
  if (window.nostr) return; // another extension was first: the user has chosen it
  const calls = new Map();
  let last = 0;

  const call = (method, ...params) =>
    new Promise((resolve, reject) => {
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
      encrypt: (pubkey, plaintext) => call(`${name}.encrypt`, pubkey, plaintext),
      decrypt: (pubkey, ciphertext) => call(`${name}.decrypt`, pubkey, ciphertext),
    });

  window.nostr = Object.freeze({
    getPublicKey: () => call("getPublicKey"),
    signEvent: (event) => call("signEvent", event),
    nip04: cipher("nip04"),
    nip44: cipher("nip44"),
  });
})();
