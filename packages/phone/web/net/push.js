/** Being woken: the browser's push subscription, registered with our own relay (`POST /push`). */

import { fromBase64Url } from "../bytes.js";
import { BunkerError } from "../errors.js";
import { authorization } from "../nips/nip98.js";
import { httpUrl } from "../nips/relay_url.js";

/** @typedef {import("../signer/transport.js").Transport} Transport */
/** @typedef {{ subscribed: boolean, pushed_at: number | null, outcome: string }} PushState */

/** @param {Transport} transport @param {string} relay @param {string} method @param {string} path @param {string} body @returns {Promise<any>} */
async function call(transport, relay, method, path, body = "") {
  const url = httpUrl(relay, path);
  const headers = {
    Authorization: await authorization(transport, url, method, body, Math.floor(Date.now() / 1000)),
    ...(body && { "Content-Type": "application/json" }),
  };
  let answer;
  try {
    answer = await fetch(url, { method, headers, ...(body && { body }), credentials: "omit", cache: "no-store" });
  } catch {
    throw new BunkerError(`${url} does not answer`);
  }
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new BunkerError(typeof said.error === "string" ? said.error.slice(0, 200) : `${url}: ${answer.status}`);
  return said;
}

/** Let `relay` wake this browser; needs the permission to notify. @param {Transport} transport @param {string} relay @param {ServiceWorkerRegistration} registration */
export async function enable(transport, relay, registration) {
  const { key } = await call(transport, relay, "GET", "/push");
  const known = await registration.pushManager.getSubscription();
  const subscription = known ?? (await registration.pushManager.subscribe({ userVisibleOnly: true, applicationServerKey: fromBase64Url(key) }));
  const { endpoint, keys } = subscription.toJSON();
  await call(transport, relay, "POST", "/push", JSON.stringify({ endpoint, keys }));
}

/** Ask the relay how it stands. @param {Transport} transport @param {string} relay @returns {Promise<PushState>} */
export const state = (transport, relay) => call(transport, relay, "GET", "/push");

/** Have the relay wake this browser now. @param {Transport} transport @param {string} relay */
export const test = (transport, relay) => call(transport, relay, "POST", "/push/test", "{}");
