/**
 * The program on this machine, by native messaging: it keeps what sites may do, and asks by us.
 *
 * The browser starts it for this extension alone; see bunker_client/nip07/prompts.py.
 */

const HOST = "nostr_bunker";

/** @typedef {import("../background/prompts.js").Reply} Reply */
/** @typedef {{ origin: string, page: string, method: string, params: any, answer: (reply: Reply) => void }} Call */

export class NativeProgram {
  /** @type {any} */
  #port = null;
  #last = 0;
  /** @type {Map<number, Call>} */
  #calls = new Map();

  /** @param {any} api the browser's @param {{ question: (id: number, call: Call) => void, withdrawn: (id: number | null) => void }} on null: all */
  constructor(api, on) {
    this.api = api;
    this.on = on;
  }

  /** @param {string} origin @param {string} page @param {string} method @param {any} params @returns {Promise<Reply>} */
  call(origin, page, method, params) {
    return new Promise((answer) => {
      const id = (this.#last += 1);
      this.#calls.set(id, { origin, page, method, params, answer });
      try {
        this.#connected().postMessage({ type: "request", id, origin, method, params });
      } catch (error) {
        this.#calls.delete(id);
        answer({ error: `error: ${/** @type {Error} */ (error).message}` });
      }
    });
  }

  /** @param {number} id @param {string} answer */
  answer(id, answer) {
    this.#port?.postMessage({ type: "answer", id, answer });
  }

  /** Forget what a page asked that is not there any more. @param {string} page */
  gone(page) {
    const ids = [...this.#calls].filter(([, call]) => call.page === page).map(([id]) => id);
    for (const id of ids) this.#calls.delete(id);
    if (ids.length) this.#port?.postMessage({ type: "gone", ids });
  }

  #connected() {
    if (this.#port) return this.#port;
    if (!this.api.runtime.connectNative) throw new Error("leave to start the program was not given: see the settings");
    this.#port = this.api.runtime.connectNative(HOST);
    this.#port.onMessage.addListener((/** @type {any} */ message) => this.#received(message));
    this.#port.onDisconnect.addListener((/** @type {any} */ ended) => {
      const reason = (ended.error ?? this.api.runtime.lastError)?.message ?? "it ended";
      this.#port = null;
      for (const { answer } of this.#calls.values()) answer({ error: `error: bunker can't be reached: ${reason}; see bunker nip07 install` });
      this.#calls.clear();
      this.on.withdrawn(null);
    });
    return this.#port;
  }

  /** @param {any} message */
  #received(message) {
    const call = this.#calls.get(message.id);
    if (message.type === "withdrawn") this.on.withdrawn(message.id);
    if (!call) return;
    if (message.type === "reply") {
      this.#calls.delete(message.id);
      call.answer({ result: message.result, error: message.error });
    } else if (message.type === "question") this.on.question(message.id, call);
  }
}
