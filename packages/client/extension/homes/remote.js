/**
 * A remote signer, over its relays: the client's half of NIP-46.
 *
 * Relays come and go; a request keeps its id until it is answered, and is sent again when a relay is
 * back, which a signer takes for the same request.
 */

import { isHex, random, toHex } from "../../../phone/web/bytes.js";
import { BunkerError } from "../../../phone/web/errors.js";
import { parseEvent, verifyEvent } from "../../../phone/web/nips/event.js";
import { isPage, parseMessage } from "../../../phone/web/nips/nip46.js";
import { newSecret, nostrConnectUri, parseBunkerUri } from "../../../phone/web/nips/bunker_uri.js";
import { parseRelayUrl } from "../../../phone/web/nips/relay_url.js";
import { Relays } from "../../../phone/web/net/relay.js";
import { newSecret as newKey } from "../../../phone/web/secp256k1.js";
import { TokenBucket } from "../../../phone/web/signer/limits.js";
import { Transport } from "../../../phone/web/signer/transport.js";
import { Places } from "./places.js";

const READY = 10_000; // milliseconds for a first relay
const APPROVAL = 180_000; // milliseconds for a person to find their phone and read
const OFFLINE = 10_000; // milliseconds for a signer that restarts
const PAUSES = [250, 2000]; // milliseconds between two attempts to reach it
const AT_ONCE = 32; // requests on the way: more would fill the relay's buffer for the signer
const MAX_WAITING = 2048; // of one site
const STRANGERS = [5, 20]; // messages a second, and at once, that an invitation looks into
const MAX_RELAYS = 20;
const FIELDS = /** @type {const} */ (["kind", "content", "tags", "created_at"]); // that a signer has no say in

/** @typedef {import("../background/state.js").Remote} Remote */
/** @typedef {import("../background/call.js").Operation} Operation */
/** @typedef {import("../../../phone/web/secp256k1.js").Secp256k1} Secp256k1 */
/** @typedef {{ content: string, settle: (result: string | null) => void, fail: (error: Error) => void, shown: boolean }} Pending */

/** A signer that we are paired with, or are about to be. */
export class RemoteSigner {
  /** @type {Map<string, Pending>} */
  #pending = new Map();
  #places = new Places(AT_ONCE, MAX_WAITING);
  #strangers = new TokenBucket(STRANGERS[0], STRANGERS[1]);
  /** @type {((author: string, secret: string) => void) | null} */
  #invited = null;
  #wasListening = false;

  /** @param {Secp256k1} curve @param {Remote} remote `signer` is "" while an invitation is out @param {{ page: (url: string) => void }} on `page`: the signer's owner has to visit it */
  constructor(curve, remote, on) {
    this.curve = curve;
    this.remote = remote;
    this.on = on;
    this.transport = new Transport(curve, remote.secret);
    this.relays = new Relays(this.transport, { event: (event) => void this.#read(event), state: () => this.#state() });
    this.relays.keep(remote.relays);
  }

  close() {
    this.relays.close();
    for (const { fail } of [...this.#pending.values()]) fail(new BunkerError("error: the signer was removed"));
  }

  /** Say in a word how each relay is. @returns {{ url: string, ok: boolean, error: string }[]} */
  get states() {
    return this.relays.all.map(({ url, listening, error }) => ({ url, ok: listening, error: listening ? "" : error || "…" }));
  }

  /** Resolve when one relay listens; throws BunkerError. */
  async ready() {
    for (const relay of this.relays.all) if (!relay.listening) relay.hurry();
    try {
      await Promise.any(this.relays.all.map((relay) => relay.ready(READY)));
    } catch {
      throw new BunkerError(`error: no relay of the signer is connected: ${this.states.map(({ url, error }) => `${url} (${error})`).join(", ")}`);
    }
  }

  /** Ask the signer; throws BunkerError with its words. @param {string} method @param {string[]} params @param {number} patience milliseconds for the answer @returns {Promise<string>} */
  async request(method, params, patience = APPROVAL) {
    await this.ready();
    const id = toHex(random(16));
    const content = await this.transport.seal(this.remote.signer, JSON.stringify({ id, method, params }), "nip44");
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    /** @type {Promise<string | null>} */
    const answered = new Promise((settle, fail) => {
      this.#pending.set(id, { content, settle, fail, shown: false });
      timer = setTimeout(() => fail(new BunkerError(`error: the signer did not answer ${method} in ${patience / 1000} s`)), patience);
    });
    try {
      this.#deliver(id).catch((error) => this.#pending.get(id)?.fail(error));
      const result = await answered;
      // An app that takes "" for its list, encrypted, puts nothing in its place.
      if (result === null || (!result && method.endsWith("_encrypt"))) throw new BunkerError(`error: the signer answered ${method} without a result`);
      return result;
    } finally {
      clearTimeout(timer);
      this.#pending.delete(id);
    }
  }

  /** Send a request until a relay says that the signer has it; throws BunkerError. @param {string} id */
  async #deliver(id) {
    const until = Date.now() + OFFLINE;
    for (let pause = PAUSES[0]; ; pause = Math.min(2 * pause, PAUSES[1])) {
      const pending = this.#pending.get(id);
      if (!pending) return; // answered meanwhile
      const event = await this.transport.event(this.remote.signer, pending.content, Math.floor(Date.now() / 1000));
      const receipts = await Promise.all(this.relays.all.map((relay) => relay.publish(event)));
      if (receipts.some(({ accepted, reason }) => accepted && !reason.startsWith("mute:"))) return;
      if (Date.now() >= until) {
        if (receipts.some(({ reason }) => reason.startsWith("mute:"))) throw new BunkerError("error: the signer is offline: no relay has it connected");
        throw new BunkerError(`error: no relay takes the request: ${receipts.map(({ reason }) => reason).join("; ")}`);
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  /** A relay that is back may have lost an answer while it was away. */
  #state() {
    const listening = this.relays.all.some((relay) => relay.listening);
    if (listening && !this.#wasListening) for (const id of this.#pending.keys()) void this.#deliver(id).catch(() => {});
    this.#wasListening = listening;
  }

  /** @param {import("../../../phone/web/nips/event.js").Event} event */
  async #read(event) {
    const stranger = event.pubkey !== this.remote.signer;
    if (stranger && !(this.#invited && this.#strangers.take(Date.now() / 1000))) return;
    let message;
    try {
      const { text, scheme } = await this.transport.open(event.pubkey, event.content);
      if (scheme !== "nip44") return; // NIP-04 has no proof of who wrote it
      message = parseMessage(text);
    } catch {
      return;
    }
    if (stranger) {
      // rust-nostr up to 0.44 accepts an invitation by a `connect` request of its own.
      const secret = "params" in message ? message.method === "connect" && message.params[1] : message.error ? "" : message.result;
      if (typeof secret === "string") this.#invited?.(event.pubkey, secret);
      return;
    }
    const pending = "params" in message ? undefined : this.#pending.get(message.id);
    if (!pending || "params" in message) return;
    const { result, error } = message;
    if (result === "auth_url") {
      if (!pending.shown && isPage(error ?? "")) this.on.page(error ?? "");
      pending.shown = true;
    } else if (error !== null) pending.fail(new BunkerError(error));
    else pending.settle(result);
  }

  /** Return the user's pubkey; throws BunkerError. */
  async publicKey() {
    const pubkey = await this.request("get_public_key", []);
    if (!isHex(pubkey, 64)) throw new BunkerError("error: the signer did not answer with a public key");
    return pubkey;
  }

  /** Ask which relays the signer wants; true when it moved. */
  async switchRelays() {
    const said = await this.request("switch_relays", [], 5000).catch(() => "");
    let relays;
    try {
      relays = JSON.parse(said);
      if (!Array.isArray(relays) || !relays.length) return false;
      relays = [...new Set(relays.map(parseRelayUrl))].slice(0, MAX_RELAYS);
    } catch {
      return false;
    }
    if (relays.join() === this.remote.relays.join()) return false;
    this.remote.relays = relays;
    this.relays.keep(relays);
    return true;
  }

  /** Do what a site was granted, when it is its turn; throws BunkerError. @param {string} site @param {Operation} operation @param {string} user @param {() => boolean} [still] @returns {Promise<any>} */
  async perform(site, { action, template, text }, user, still) {
    if (action.method === "get_public_key") return user;
    const params = template ? [JSON.stringify({ ...template, pubkey: user })] : [action.peer ?? "", text];
    const said = await this.#places.run(site, () => this.request(template ? "sign_event" : action.method, params), still);
    if (!template) return said;
    let event;
    try {
      event = parseEvent(JSON.parse(said));
      verifyEvent(event, this.curve);
    } catch {
      throw new BunkerError("error: what the signer answered is no event with a signature that holds");
    }
    if (event.pubkey !== user) throw new BunkerError("error: the event is signed by another key");
    const changed = FIELDS.filter((name) => JSON.stringify(event[name]) !== JSON.stringify(template[name]));
    if (changed.length) throw new BunkerError(`error: the signer changed ${changed.join(", ")}`);
    return event;
  }

  /** Wait for a signer that knows the secret of our invitation, and take it. @param {string} secret @returns {Promise<void>} */
  accepted(secret) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new BunkerError("error: no signer answered the code in 3 minutes")), APPROVAL);
      this.#invited = (author, said) => {
        if (said !== secret) return;
        clearTimeout(timer);
        this.#invited = null;
        this.remote.signer = author;
        resolve();
      };
    });
  }
}

/** @returns {Uint8Array} */
function clientKey() {
  const key = new Uint8Array(32);
  newKey(key);
  return key;
}

/** Pair by the address that a signer shows; throws BunkerError. @param {Secp256k1} curve @param {string} uri @param {string} name @param {{ page: (url: string) => void }} on */
export async function pairByUri(curve, uri, name, on) {
  const { remoteSigner, relays, secret } = parseBunkerUri(uri);
  const signer = new RemoteSigner(curve, { secret: clientKey(), signer: remoteSigner, relays }, on);
  try {
    const answer = await signer.request("connect", [remoteSigner, secret, "", JSON.stringify({ name })]);
    if (answer !== "ack" && answer !== secret) throw new BunkerError("error: the signer answered connect with neither ack nor the secret");
    return await paired(signer);
  } catch (error) {
    signer.close();
    throw error;
  }
}

/** Invite a signer: `uri` is to be shown, `paired` resolves when one has answered. Throws BunkerError. @param {Secp256k1} curve @param {string[]} relays @param {string} name @param {{ page: (url: string) => void }} on */
export async function invite(curve, relays, name, on) {
  if (!relays.length) throw new BunkerError("a relay is needed, where the signer can answer: wss://…");
  const signer = new RemoteSigner(curve, { secret: clientKey(), signer: "", relays: relays.map(parseRelayUrl) }, on);
  const secret = newSecret();
  try {
    await signer.ready(); // whoever has the code may answer at once
  } catch (error) {
    signer.close();
    throw error;
  }
  const whole = signer.accepted(secret).then(() => paired(signer));
  whole.catch(() => signer.close());
  return { uri: nostrConnectUri(signer.transport.pubkey, signer.remote.relays, secret, name), paired: whole, cancel: () => signer.close() };
}

/** @param {RemoteSigner} signer */
async function paired(signer) {
  return { signer, pubkey: await signer.publicKey() };
}
