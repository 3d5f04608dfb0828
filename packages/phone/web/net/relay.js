/** One connection to one relay: subscribe, publish, come back after a failure (NIP-01, NIP-42). */

import { CLIENT_AUTH, NOSTR_CONNECT, parseEvent, signEvent } from "../nips/event.js";

const PAUSES = [300, 30_000]; // milliseconds before the next attempt, doubled up to the second
const OK_TIMEOUT = 8000;
const MAX_FRAME = 1_048_576; // characters: an answer of 24133 is far smaller
const SINCE = 60; // seconds back: what was asked while the page was loading

/** @typedef {import("../nips/event.js").Event} Event */
/** @typedef {{ accepted: boolean, reason: string }} Receipt */

export class Relay {
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {Map<string, (receipt: Receipt) => void>} */
  #waiting = new Map();
  #pause = PAUSES[0];
  #closed = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {(() => void)[]} */
  #listeners = [];
  listening = false; // subscribed, and everything held has come
  failed = false; // the latest attempt to be so came to nothing
  error = ""; // why, in the relay's words

  /** @param {string} url @param {import("../signer/transport.js").Transport} transport @param {{ event: (event: Event, relay: string) => void, state: () => void }} on */
  constructor(url, transport, on) {
    this.url = url;
    this.transport = transport;
    this.on = on;
  }

  /** Connect, and stay connected until `close`. */
  open() {
    if (this.#closed || this.#socket) return;
    let socket;
    try {
      socket = new WebSocket(this.url);
    } catch {
      this.failed = true; // ws:// from a page served over https
      this.on.state();
      return;
    }
    this.#socket = socket;
    socket.onopen = () => this.#subscribe();
    socket.onmessage = ({ data }) => this.#read(data);
    socket.onclose = () => this.#lost();
  }

  /** Connect now, whatever the pause is: the phone is back in a network. */
  hurry() {
    clearTimeout(this.#timer);
    this.#pause = PAUSES[0];
    this.open();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#socket?.close();
  }

  /** Resolve when the relay hands us what it has for us; rejects after `timeout` ms. @param {number} timeout @returns {Promise<void>} */
  ready(timeout) {
    if (this.listening) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${this.url} does not answer`)), timeout);
      this.#listeners.push(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }

  /** Resolve to the relay's OK; a silence is none. @param {Event} event @returns {Promise<Receipt>} */
  publish(event) {
    return new Promise((resolve) => {
      const timer = setTimeout(() => settle({ accepted: false, reason: "error: no answer" }), OK_TIMEOUT);
      /** @param {Receipt} receipt */
      const settle = (receipt) => {
        clearTimeout(timer);
        this.#waiting.delete(event.id);
        resolve(receipt);
      };
      this.#waiting.set(event.id, settle);
      if (!this.#send(["EVENT", event])) settle({ accepted: false, reason: "error: not connected" });
    });
  }

  #subscribe() {
    const since = Math.floor(Date.now() / 1000) - SINCE;
    this.#send(["REQ", "nip46", { kinds: [NOSTR_CONNECT], "#p": [this.transport.pubkey], since }]);
  }

  /** @param {unknown} data */
  #read(data) {
    if (typeof data !== "string" || data.length > MAX_FRAME) return;
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return;
    }
    if (!Array.isArray(message)) return;
    const [type, first, second, third] = message;
    if (type === "EVENT" && first === "nip46") {
      try {
        this.on.event(parseEvent(second), this.url);
      } catch {
        // not an event: a relay's fault, and no reason to listen to it less
      }
    } else if (type === "OK") {
      this.#waiting.get(first)?.({ accepted: second === true, reason: typeof third === "string" ? third : "" });
    } else if (type === "EOSE" && first === "nip46") {
      this.#pause = PAUSES[0];
      this.listening = true;
      this.failed = false;
      this.error = "";
      this.#listeners.splice(0).forEach((listener) => listener());
      this.on.state();
    } else if (type === "CLOSED" && first === "nip46") {
      this.error = typeof second === "string" ? second.slice(0, 200) : "";
      this.failed = !this.error.startsWith("auth-required:"); // that is answered, see #authenticate
      this.listening = false;
      this.on.state();
    } else if (type === "AUTH" && typeof first === "string" && first.length <= 1024) {
      void this.#authenticate(first);
    }
  }

  /** @param {string} challenge */
  async #authenticate(challenge) {
    const tags = [["relay", this.url], ["challenge", challenge]];
    const created_at = Math.floor(Date.now() / 1000);
    const event = await signEvent({ kind: CLIENT_AUTH, content: "", tags, created_at }, this.transport);
    this.#waiting.set(event.id, () => {
      this.#waiting.delete(event.id);
      if (!this.listening) this.#subscribe();
    });
    this.#send(["AUTH", event]);
  }

  /** @param {unknown[]} message */
  #send(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  #lost() {
    this.#socket = null;
    this.listening = false;
    for (const settle of [...this.#waiting.values()]) settle({ accepted: false, reason: "error: connection lost" });
    this.#waiting.clear();
    if (!this.#closed) {
      this.failed = true;
      this.#timer = setTimeout(() => this.open(), this.#pause);
      this.#pause = Math.min(2 * this.#pause, PAUSES[1]);
    }
    this.on.state();
  }
}

/** The relays of one signer: its own, and those that paired apps were met on. */
export class Relays {
  /** @type {Map<string, Relay>} */
  #relays = new Map();

  /** @param {import("../signer/transport.js").Transport} transport @param {{ event: (event: Event, relay: string) => void, state: () => void }} on */
  constructor(transport, on) {
    this.transport = transport;
    this.on = on;
  }

  /** @param {string} url */
  add(url) {
    let relay = this.#relays.get(url);
    if (!relay) {
      relay = new Relay(url, this.transport, this.on);
      this.#relays.set(url, relay);
      relay.open();
    }
    return relay;
  }

  /** @param {string[]} urls */
  keep(urls) {
    for (const url of urls) this.add(url);
    for (const [url, relay] of this.#relays) {
      if (!urls.includes(url)) {
        relay.close();
        this.#relays.delete(url);
      }
    }
  }

  get all() {
    return [...this.#relays.values()];
  }

  /** Send a reply as a fresh event; true when a relay passed it on. @param {import("../signer/signer.js").Reply} reply @param {number} now */
  async send(reply, now) {
    const event = await this.transport.event(reply.client, reply.content, now, reply.notBefore);
    const wanted = this.all.filter((relay) => reply.relays.includes(relay.url));
    const receipts = await Promise.all((wanted.length ? wanted : this.all).map((relay) => relay.publish(event)));
    return receipts.some(({ accepted, reason }) => accepted && !reason.startsWith("mute:"));
  }

  close() {
    this.keep([]);
  }
}
