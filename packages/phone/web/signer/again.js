/**
 * Answers that nobody heard, sent again within seconds: go-nostr sends its request before it listens
 * for the answer, and a client whose connection was lost takes a moment to come back.
 *
 * What the journal holds needs none of this: it is sent until it is heard.
 */

const PAUSES = [200, 500, 1000, 2000, 3000]; // milliseconds before each try, as the Python signer's
const AT_ONCE = 64; // answers
const EACH = 8; // of them for one client

export class Again {
  /** Whom each of them is for. @type {Set<{ client: string }>} */
  #trying = new Set();

  /** @param {(milliseconds: number) => Promise<void>} wait */
  constructor(wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))) {
    this.wait = wait;
  }

  /** Try `send` until it resolves to true, a few times; what is too much already is given up. @param {string} client @param {() => Promise<boolean>} send */
  async send(client, send) {
    const alike = [...this.#trying].filter((item) => item.client === client);
    if (this.#trying.size >= AT_ONCE || alike.length >= EACH) return;
    const item = { client };
    this.#trying.add(item);
    try {
      for (const pause of PAUSES) {
        await this.wait(pause);
        if (await send()) return;
      }
    } catch (error) {
      // One answer must not cost the others; the name alone, as a text could repeat what was said.
      console.error("answer failed:", error instanceof Error ? error.name : "");
    } finally {
      this.#trying.delete(item);
    }
  }
}
