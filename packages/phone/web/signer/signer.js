/**
 * The way of a request: fresh, decrypt, parse, client, policy, approval, and only then the key.
 *
 * The page and the service worker run the same: the worker has no vault that is open, so what wants
 * the key stays in the journal there until the page takes it up.
 */

import { CryptoError, InvalidInput, InvalidRPC, NSEError, Refused } from "../errors.js";
import { signEvent, tagValues, verifyEvent } from "../nips/event.js";
import { param, parseMetadata, parseRequest, responseText } from "../nips/nip46.js";
import { Again } from "./again.js";
import { Buckets, TokenBucket } from "./limits.js";
import { digestOf, hostsOf, readOperation } from "./operation.js";
import { FREE, permission } from "./policy.js";
import * as record from "./record.js";

export const FRESH = 300; // seconds that a request may be off our clock, either way
export const DEADLINE = 120; // seconds that a person has

/** @typedef {import("../nips/event.js").Event} Event */
/** @typedef {import("./database.js").RequestRow} RequestRow */
/** @typedef {import("./database.js").ClientRow} ClientRow */
/** @typedef {import("./transport.js").Scheme} Scheme */
/** @typedef {import("../nips/nip46.js").Request} Request */
/** @typedef {import("./operation.js").Operation} Operation */
/** @typedef {{ client: string, content: string, relays: string[], notBefore: number, digest: string, afresh?: () => Promise<string> }} Reply */
/** @typedef {{ verdict: "deny" | "once" | "always" | "never", seconds?: number | null, uses?: number | null, by: string }} Answer */
/** @typedef {{ entry: RequestRow, client: ClientRow, request: Request, scheme: Scheme, operation: Operation }} Job */

export class Signer {
  #strangerEvents = new TokenBucket(100, 200);
  #strangerReplies = new TokenBucket(1, 20);
  #clientRequests = new Buckets(100, 2000, 4096);
  #again = new Again();
  /** @type {Set<string>} */
  #working = new Set();

  /**
   * @param {import("../secp256k1.js").Secp256k1} curve
   * @param {import("./database.js").Database} database
   * @param {import("./transport.js").Transport} transport
   * @param {() => string[]} relays those that we run on
   * @param {(key: string) => import("../nse/vault.js").Vault | null} vaultOf
   * @param {() => number} clock Unix seconds
   */
  constructor(curve, database, transport, relays, vaultOf, clock = () => Math.floor(Date.now() / 1000)) {
    this.curve = curve;
    this.database = database;
    this.transport = transport;
    this.relays = relays;
    this.vaultOf = vaultOf;
    this.clock = clock;
    /** Sends a reply; resolves to whether a relay took it. @type {(reply: Reply) => Promise<boolean>} */
    this.send = async () => false;
    /** Told of each event that was signed and may leave. @type {(event: Event) => Promise<unknown>} */
    this.signed = () => Promise.resolve();
    /** Told when the journal changed. @type {() => void} */
    this.changed = () => {};
  }

  /**
   * Take a request event that came by `relay`; whatever is wrong with it costs nothing else. An
   * answer that nobody heard is sent again: by `resume` if it is in the journal, else from here.
   * @param {Event} event @param {string} relay
   */
  async handle(event, relay) {
    const reply = await this.#handle(event, relay);
    if (!reply || (await this.#deliver(reply))) return;
    const { afresh } = reply;
    if (afresh) void this.#again.send(reply.client, async () => this.#deliver({ ...reply, content: await afresh() }));
  }

  /** @param {Event} event @param {string} relay @returns {Promise<Reply | null>} */
  async #handle(event, relay) {
    const now = this.clock();
    if (!tagValues(event, "p").includes(this.transport.pubkey)) return null;
    if (Math.abs(event.created_at - now) > FRESH) return null;
    const [client, handled] = await this.database.read(["clients", "handled"], async (tx) => [
      /** @type {ClientRow | undefined} */ (await tx.get("clients", event.pubkey)),
      await tx.get("handled", event.id),
    ]);
    if (handled) return null;
    if (!client && !this.#strangerEvents.take(now)) return null;
    try {
      verifyEvent(event, this.curve);
    } catch {
      return null;
    }
    let text, scheme;
    try {
      ({ text, scheme } = await this.transport.open(event.pubkey, event.content));
    } catch (error) {
      if (error instanceof CryptoError) return null; // a stranger learns nothing from a failure
      throw error;
    }
    /** @param {Request["id"]} id @param {{ result?: string, error?: string }} response */
    const reply = async (id, response) => {
      const afresh = () => this.transport.seal(event.pubkey, responseText({ id, ...response }), scheme);
      const relays = [...new Set([relay, ...(client?.relays ?? [])])];
      return { client: event.pubkey, content: await afresh(), relays, notBefore: event.created_at, digest: "", afresh };
    };
    let request;
    try {
      request = parseRequest(text);
    } catch (error) {
      if (!(error instanceof InvalidRPC)) throw error;
      return client && error.requestId !== null ? reply(error.requestId, { error: `invalid: ${error.message}` }) : null;
    }
    if (!client) return this.#stranger(event, request, now, reply);
    if (!this.#clientRequests.take(event.pubkey, now)) return reply(request.id, { error: "rate-limited: too many requests" });
    if (FREE.includes(request.method)) return this.#free(client, event, request, now, reply);
    return this.#keyed(client, event, relay, request, scheme, now, reply);
  }

  /** @param {Event} event @param {Request} request @param {number} now @param {Function} reply */
  async #stranger(event, request, now, reply) {
    const secret = request.method === "connect" ? param(request, 1) : "";
    if (secret) {
      const paired = await this.database.write(record.ALL, async (tx) => {
        if (!(await record.markHandled(tx, event.id, now))) return undefined;
        return record.pair(tx, event.pubkey, secret, parseMetadata(param(request, 3)), param(request, 2), now);
      });
      if (paired === undefined) return null;
      if (paired) {
        this.changed();
        return reply(request.id, { result: "ack" });
      }
    }
    if (!this.#strangerReplies.take(now)) return null;
    const error = request.method === "connect" ? "denied: the secret is wrong, used or too old; ask for a new bunker URI" : "denied: not connected, send connect first";
    return reply(request.id, { error });
  }

  /**
   * Answer what needs no key. What it means is written down before: a client that was told that it
   * is logged out is logged out, also if it did not wait for the answer.
   * @param {ClientRow} client @param {Event} event @param {Request} request @param {number} now @param {Function} reply
   */
  async #free(client, event, request, now, reply) {
    const { method, id } = request;
    if (method === "logout" && event.created_at < client.paired_at) return null; // of an earlier session
    const relays = this.relays();
    const moves = client.relays.length > 0 && !sameSet(client.relays, relays);
    const fresh = await this.database.write(record.ALL, async (tx) => {
      if (!(await record.markHandled(tx, event.id, now))) return false;
      await record.see(tx, client, now);
      if (method === "logout") await record.removeClient(tx, client.pubkey, "logout", now);
      if (method === "switch_relays" && moves) await record.moveClient(tx, client.pubkey, relays);
      // One that is known is admitted by its key, whatever secret it repeats; an unused one is used
      // up all the same, or it would pair a second app.
      if (method === "connect" && param(request, 1)) {
        await record.pair(tx, client.pubkey, param(request, 1), parseMetadata(param(request, 3)), param(request, 2), now);
      }
      return true;
    });
    if (!fresh) return null;
    if (method === "ping") return reply(id, { result: "pong" });
    if (method === "get_public_key") return reply(id, { result: client.key });
    this.changed();
    // The text, not JSON's null: nostr-tools hangs on the latter.
    if (method === "switch_relays") return reply(id, { result: moves ? JSON.stringify(relays) : "null" });
    return reply(id, { result: "ack" });
  }

  /** @param {ClientRow} client @param {Event} event @param {string} relay @param {Request} request @param {Scheme} scheme @param {number} now @param {Function} reply */
  async #keyed(client, event, relay, request, scheme, now, reply) {
    let operation;
    try {
      operation = readOperation(request, client.key, now, hostsOf(this.relays()));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const fresh = await this.database.write(["handled"], (tx) => record.markHandled(tx, event.id, now));
      return fresh ? reply(request.id, { error: error.message }) : null;
    }
    const digest = digestOf(client.key, client.pubkey, request);
    const admitted = await this.database.write(record.ALL, (tx) => record.admit(tx, { client, event, digest, relay, operation }, now));
    if (!admitted) return null;
    const { entry, refusal, known } = admitted;
    if (refusal !== undefined) return reply(request.id, { error: refusal });
    if (known && (entry.state === "answered" || entry.state === "done")) return this.#replyOf(entry, client);
    this.changed();
    if (entry.state !== "approved") return null;
    return this.#carryOut({ entry, client, request, scheme, operation }, entry.decided_by);
  }

  // --- the journal ------------------------------------------------------------------------------

  /** Return what waits for the owner, the oldest first, each as it can be described. @returns {Promise<Job[]>} */
  async waiting() {
    const rows = await this.database.read(["requests", "clients"], async (tx) => {
      const found = [...(await tx.all("requests", "state", "open")), ...(await tx.all("requests", "state", "approved"))];
      return Promise.all(found.map(async (entry) => ({ entry, client: await tx.get("clients", entry.client) })));
    });
    const jobs = [];
    for (const { entry, client } of rows) {
      const job = client && !this.#working.has(entry.digest) && (await this.#read(entry, client));
      if (job) jobs.push(job);
    }
    return jobs.sort((a, b) => a.entry.arrived - b.entry.arrived);
  }

  /** Do what the owner said about some jobs; for an allowing answer their vault is open. @param {Job[]} jobs @param {Answer} said */
  async decide(jobs, said) {
    const now = this.clock();
    const allows = said.verdict === "once" || said.verdict === "always";
    await this.database.write(record.ALL, async (tx) => {
      for (const { entry } of allows ? jobs : []) await record.approve(tx, entry.digest, said.by);
      if (said.verdict === "always" || said.verdict === "never") {
        const { entry, operation } = jobs[0];
        await record.takeRule(tx, entry.client, operation.action, allows ? "allow" : "deny", said.seconds ?? null, said.uses ?? null, now, said.by);
      }
    });
    for (const job of jobs) {
      const reply = allows
        ? await this.#carryOut(job, said.by)
        : await this.#answer(job, { error: `denied: ${permission(job.operation.action)} is not allowed` }, said.by, true);
      if (reply) await this.#deliver(reply);
    }
    this.changed();
  }

  /** Go on with what is allowed and can be done now, and end what is too late; deliver what was not. */
  async resume() {
    const now = this.clock();
    await this.database.write(record.ALL, (tx) => record.tidy(tx, now));
    for (const job of await this.waiting()) {
      const { entry } = job;
      let reply = null;
      if (now >= entry.received_at + DEADLINE) {
        const late = entry.state === "open" ? `expired: nobody answered within ${DEADLINE} s` : "locked: the key was not unlocked in time";
        reply = await this.#answer(job, { error: late }, "", entry.state === "open");
      } else if (entry.state === "approved") {
        reply = await this.#carryOut(job, entry.decided_by);
      }
      if (reply) await this.#deliver(reply);
    }
    for (const entry of await this.database.read(["requests"], (tx) => tx.all("requests", "state", "answered"))) {
      const client = await this.database.read(["clients"], (tx) => tx.get("clients", entry.client));
      const reply = client && !this.#working.has(entry.digest) && this.#replyOf(entry, client);
      if (reply) await this.#deliver(reply);
    }
    this.changed();
  }

  /** @param {RequestRow} entry @param {ClientRow} client @returns {Promise<Job | null>} */
  async #read(entry, client) {
    try {
      const { text, scheme } = await this.transport.open(entry.client, entry.event.content);
      const request = parseRequest(text);
      return { entry, client, request, scheme, operation: readOperation(request, entry.key, entry.received_at, hostsOf(this.relays())) };
    } catch {
      return null;
    }
  }

  /** Use the key if it is open; null leaves the request in the journal. @param {Job} job @param {string} by @returns {Promise<Reply | null>} */
  async #carryOut(job, by) {
    const { entry, operation } = job;
    const vault = this.vaultOf(entry.key);
    if (!vault || vault.locked || this.#working.has(entry.digest)) return null;
    this.#working.add(entry.digest);
    try {
      let result;
      let event;
      try {
        const { template, action, text } = operation;
        const key = { pubkey: vault.pubkey, sign: (/** @type {Uint8Array} */ message) => vault.sign(message) };
        event = template && (await signEvent(template, key));
        result = event ? JSON.stringify(event) : await vault.crypt(action.method, action.peer ?? "", text, action.context);
      } catch (error) {
        if (error instanceof NSEError && error.code === "locked") return null;
        if (error instanceof CryptoError || error instanceof InvalidInput) return await this.#answer(job, { error: `invalid: ${error.message}` }, by, true);
        return await this.#answer(job, { error: "error: the signer can't use its key" }, by, false);
      }
      const reply = await this.#answer(job, { result }, by, true);
      // What is kept for comparison is kept after the answer, and costs it nothing when it fails.
      if (reply && event) await this.signed(event).catch(() => {});
      return reply;
    } finally {
      this.#working.delete(entry.digest);
    }
  }

  /** Write the answer down; only then it may leave. @param {Job} job @param {{ result?: string, error?: string }} response @param {string} by @param {boolean} lasting @returns {Promise<Reply | null>} */
  async #answer({ entry, client, request, scheme, operation }, response, by, lasting) {
    const content = await this.transport.seal(entry.client, responseText({ id: request.id, ...response }), scheme);
    const outcome = response.error ?? "allowed";
    const released = await this.database.write(record.ALL, (tx) =>
      record.answer(tx, entry, operation, this.clock(), content, outcome, by, lasting),
    );
    if (!released) return null;
    return this.#replyOf({ ...entry, answer: content }, client);
  }

  /** @param {RequestRow} entry @param {ClientRow} client @returns {Reply} */
  #replyOf(entry, client) {
    return {
      client: entry.client, content: entry.answer, relays: [...new Set([entry.relay, ...client.relays])],
      notBefore: entry.event.created_at, digest: entry.digest,
    };
  }

  /** Send an answer; return whether it was heard. @param {Reply} reply */
  async #deliver(reply) {
    if (reply.digest) this.#working.add(reply.digest);
    try {
      const sent = await this.send(reply);
      if (sent && reply.digest) await this.database.write(["requests"], (tx) => record.finish(tx, reply.digest));
      return sent;
    } finally {
      this.#working.delete(reply.digest);
    }
  }
}

/** Tell whether two lists name the same relays. @param {string[]} a @param {string[]} b */
const sameSet = (a, b) => a.length === b.length && a.every((item) => b.includes(item));
