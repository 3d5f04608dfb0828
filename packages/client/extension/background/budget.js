/** What all pages together may have under way, so that none takes another's place. */

import { BunkerError } from "../../../phone/web/errors.js";

const MAX_CALLS = 2048; // of one site: what waits for the user, and what the signer is asked
const MAX_CHARACTERS = 16 * 1024 * 1024; // of one site
const MAX_SITES = 64;

/** Calls that are under way, by site. */
export class Budget {
  /** @type {Map<string, { calls: number, characters: number }>} */
  #sites = new Map();

  /** Count a call until what is returned is called; throws BunkerError. @param {string} origin @param {number} characters @returns {() => void} */
  take(origin, characters) {
    const own = this.#sites.get(origin) ?? { calls: 0, characters: 0 };
    if (!own.calls && this.#sites.size >= MAX_SITES) throw new BunkerError("rate-limited: too many sites call at once");
    if (own.calls >= MAX_CALLS || own.characters + characters > MAX_CHARACTERS) throw new BunkerError("rate-limited: too many calls at once");
    own.calls += 1;
    own.characters += characters;
    this.#sites.set(origin, own);
    return () => {
      own.calls -= 1;
      own.characters -= characters;
      if (!own.calls) this.#sites.delete(origin);
    };
  }
}
