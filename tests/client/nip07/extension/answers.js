/**
 * The extension's client, without a browser: pairs by `BUNKER_URI`, asks what is listed, and prints
 * what each call said and which pages were opened.
 * `globalThis.wasm` holds the curve's module.
 */

import { pairByUri } from "../../../../packages/client/extension/homes/remote.js";
import { Secp256k1 } from "../../../../packages/phone/web/secp256k1.js";

const PEER = "c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5";
const curve = await Secp256k1.start(/** @type {any} */ (globalThis).wasm);
/** @type {string[]} */
const pages = [];
const { signer, pubkey } = await pairByUri(curve, process.env.BUNKER_URI ?? "", "test", { page: (url) => pages.push(url) });
/** @param {string} method @param {string | number} what the text, or the kind of an event */
const ask = (method, what) => {
  const template = typeof what === "number" ? { kind: what, content: "hi", tags: [], created_at: 1_790_000_000 } : null;
  const operation = /** @type {any} */ ({ action: { method, kind: null, peer: PEER }, template, text: String(what), eventId: "" });
  return signer.perform("https://a.example", operation, pubkey).then((found) => found.content ?? found, (error) => `refused: ${error.message}`);
};
const said = [];
for (const [method, what] of JSON.parse(process.env.ASKED ?? "[]")) said.push(await ask(method, what));
signer.close();
console.log(JSON.stringify({ said, pages }));
process.exit();
