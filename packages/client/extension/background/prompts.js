/**
 * Calls that come in, questions that go out: who may what, and who is asked.
 *
 * One question at a time. What the user says to it may answer others that wait; what a page asks
 * that is gone is withdrawn. Browser and signers come in as functions.
 */

import { line } from "../../../phone/web/describe/plain.js";
import { title } from "../../../phone/web/describe/description.js";
import { BunkerError } from "../../../phone/web/errors.js";
import { alike, decide, grantOf, needsKey, readCall, sizeOf } from "./call.js";

// What may wait for the user, of each site, so that none takes another's place. An app decrypts
// hundreds at once on its first visit, which is one question. As the program has it (prompts.py).
export const MAX_QUESTIONS = 16; // different permissions
export const MAX_CALLS = 1024;
export const MAX_CHARACTERS = 8 * 1024 * 1024;
export const MAX_SITES = 64; // that have something waiting
const MAX_ERROR = 300; // characters of a signer's error that a page is told

/** @typedef {import("./state.js").State} State */
/** @typedef {import("./state.js").Identity} Identity */
/** @typedef {import("./call.js").Operation} Operation */
/** @typedef {import("./call.js").Answer} Answer */
/** @typedef {{ result?: any, error?: string }} Reply */
/** Asked when it is an operation's turn: a grant may be over, or taken away, by then. @typedef {() => boolean} Still */
/**
 * Something that the user is asked, and what waits for the answer.
 * @typedef {object} Question
 * @property {number} id
 * @property {string} origin
 * @property {string} page that asks
 * @property {Identity} identity
 * @property {Operation} operation
 * @property {boolean} unlock the answer is known, only the key is locked
 * @property {number} [native] the program's own number of it
 * @property {(answer: Answer | null) => void} settle null: nobody is there any more
 */

/**
 * @typedef {object} Outside
 * @property {() => number} now Unix seconds
 * @property {(question: Question | null) => void} show the question that is to be on the screen
 * @property {(origin: string, identity: Identity, operation: Operation, still: Still) => Promise<any>} perform
 * @property {(identity: Identity) => boolean} locked
 * @property {() => void} changed something waits, or does not any more
 */

export class Prompts {
  /** @type {Map<number, Question>} */
  #waiting = new Map();
  /** @type {Question | null} */
  #asked = null;
  #last = 0;

  /** @param {State} state @param {Outside} outside */
  constructor(state, outside) {
    this.state = state;
    this.outside = outside;
  }

  /** The question that is on the screen. */
  get asked() {
    return this.#asked;
  }

  get waiting() {
    return this.#waiting.size;
  }

  /** Answer a call of a page; never throws. @param {string} origin as the browser names it @param {string} page @param {Identity} identity @param {unknown} method @param {unknown} params @returns {Promise<Reply>} */
  async call(origin, page, identity, method, params) {
    const { state, outside } = this;
    /** @type {Operation} */
    let operation;
    try {
      operation = readCall(method, params, identity.pubkey, outside.now());
    } catch (error) {
      return { error: said(error) };
    }
    /** @param {"allowed" | "denied" | "failed"} outcome */
    const note = (outcome) => state.note({ at: outside.now(), origin, identity: identity.id, what: operation.action.method === "get_public_key" ? null : title(operation.action), outcome });
    try {
      const remembered = () => decide(state.grantsOf(origin), operation.action, outside.now());
      let allowed = remembered();
      // What is remembered may have changed when the key is open.
      while (allowed && needsKey(operation) && outside.locked(identity)) {
        const answer = await this.ask({ origin, page, identity, operation, unlock: true });
        if (answer === null) return { error: "denied: the page is gone" };
        allowed = answer.verdict !== "deny" && remembered();
      }
      const granted = allowed === true;
      if (allowed === null) {
        const answer = await this.ask({ origin, page, identity, operation, unlock: false });
        if (answer === null) return { error: "denied: the page is gone" };
        allowed = answer.verdict !== "deny" && answer.verdict !== "never";
        const other = allowed && answer.identity !== identity.id && state.kept.identities.find((item) => item.id === answer.identity);
        if (other && !needsKey(operation)) {
          identity = other;
          await state.setSite(origin, { identity: other.id });
        }
      }
      if (!allowed) {
        await note("denied");
        return { error: "denied: the user does not allow it" };
      }
      const result = method === "getRelays" ? relaysOf(state.kept.settings.relays) : await outside.perform(origin, identity, operation, () => !granted || remembered() === true);
      await note("allowed");
      return { result };
    } catch (error) {
      await note("failed").catch(() => {});
      return { error: said(error) };
    }
  }

  /** Ask the user, when it is this one's turn. Throws BunkerError when too much waits. @param {Omit<Question, "id" | "settle">} wanted @returns {Promise<Answer | null>} */
  ask(wanted) {
    if (!this.#hasRoom(wanted)) throw new BunkerError("rate-limited: too many requests wait for the user");
    return new Promise((resolve) => {
      const id = (this.#last += 1);
      this.#waiting.set(id, { ...wanted, id, settle: resolve });
      this.#next();
    });
  }

  /** Take the answer to the question on the screen; of any other, nothing. @param {number} id @param {Answer} answer */
  async answer(id, answer) {
    const question = this.#asked;
    if (question?.id !== id) return;
    this.#asked = null;
    this.#waiting.delete(id);
    const { origin, operation } = question;
    const grant = question.unlock || question.native !== undefined ? null : grantOf(operation.action, answer, this.outside.now());
    try {
      if (grant) await this.state.remember(origin, grant); // before it is used
    } finally {
      question.settle(answer);
      this.#settleOthers(question, answer);
      this.#next();
    }
  }

  /** Withdraw what a test of a question says. @param {(question: Question) => boolean} wanted */
  withdraw(wanted) {
    for (const [id, question] of [...this.#waiting]) {
      if (!wanted(question)) continue;
      this.#waiting.delete(id);
      if (this.#asked === question) this.#asked = null;
      question.settle(null);
    }
    this.#next();
  }

  /** @param {Question} asked @param {Answer} answer */
  #settleOthers(asked, answer) {
    for (const [id, other] of [...this.#waiting]) {
      if (other.native !== undefined) continue; // the program decides about its own
      /** @type {Answer | null} */
      let settled = null;
      if (other.unlock) {
        if (asked.identity.id === other.identity.id && !this.outside.locked(other.identity)) settled = { verdict: "once" };
        else if (asked.unlock && answer.verdict === "deny" && asked.origin === other.origin) settled = answer;
      } else {
        const known = decide(this.state.grantsOf(other.origin), other.operation.action, this.outside.now());
        if (known !== null) settled = { verdict: known ? "once" : "deny" };
        // A "no" is for all that ask the same; else closing the window would open the next.
        else if (answer.verdict === "deny" && asked.origin === other.origin && alike(asked.operation.action, other.operation.action)) settled = answer;
        if (settled?.verdict === "once" && needsKey(other.operation) && this.outside.locked(other.identity)) settled = null;
      }
      if (!settled) continue;
      this.#waiting.delete(id);
      other.settle(settled);
    }
  }

  #next() {
    if (this.#asked === null) {
      this.#asked = this.#waiting.values().next().value ?? null;
      this.outside.show(this.#asked);
    }
    this.outside.changed();
  }

  /** @param {Omit<Question, "id" | "settle">} wanted */
  #hasRoom(wanted) {
    const all = [...this.#waiting.values()];
    const own = all.filter((item) => item.origin === wanted.origin);
    if (!own.length) return new Set(all.map((item) => item.origin)).size < MAX_SITES;
    const permissions = new Set([...own, wanted].map(({ operation: { action } }) => `${action.method}:${action.kind}`));
    const size = [...own, wanted].reduce((sum, item) => sum + sizeOf(item.operation), 0);
    return permissions.size <= MAX_QUESTIONS && own.length < MAX_CALLS && size <= MAX_CHARACTERS;
  }
}

/** What NIP-07's `getRelays` answers. @param {string[]} relays @returns {Record<string, { read: boolean, write: boolean }>} */
export const relaysOf = (relays) => Object.fromEntries(relays.map((url) => [url, { read: true, write: true }]));

/** @param {unknown} error */
function said(error) {
  if (!(error instanceof BunkerError)) return "error: the extension failed";
  const text = line(error.message, MAX_ERROR);
  return /^[a-z-]+: /.test(text) ? text : `error: ${text}`;
}
