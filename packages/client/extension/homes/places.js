/** Who is next: the places of one key or signer, shared by the sites that ask. */

import { BunkerError } from "../../../phone/web/errors.js";

/**
 * A site runs in at most half of the places that the others leave, so one that asks without end
 * leaves some for who comes next, and sites that wait are served one after the other.
 */
export class Places {
  /** @type {Map<string, { running: number, waiting: (() => void)[] }>} */
  #sites = new Map();
  #running = 0;

  /** @param {number} places @param {number} most that may wait, of one site */
  constructor(places, most) {
    this.places = places;
    this.most = most;
  }

  /** Do `work` in a place, if it may be done `still`; throws BunkerError, also when too much of this site waits. @template T @param {string} site @param {() => Promise<T>} work @param {() => boolean} still @returns {Promise<T>} */
  async run(site, work, still = () => true) {
    const own = this.#sites.get(site) ?? { running: 0, waiting: [] };
    if (own.waiting.length >= this.most) throw new BunkerError("rate-limited: too many requests wait for the signer");
    this.#sites.set(site, own);
    if (this.#mayRun(own)) this.#start(own);
    else await new Promise((resolve) => own.waiting.push(() => resolve(null)));
    try {
      if (!still()) throw new BunkerError("denied: the user does not allow it any more");
      return await work();
    } finally {
      own.running -= 1;
      this.#running -= 1;
      if (!own.running && !own.waiting.length) this.#sites.delete(site);
      this.#next();
    }
  }

  /** @param {{ running: number }} own */
  #mayRun(own) {
    const left = this.places - (this.#running - own.running);
    return this.#running < this.places && own.running < Math.max(1, Math.floor(left / 2));
  }

  /** @param {{ running: number }} own */
  #start(own) {
    own.running += 1;
    this.#running += 1;
  }

  #next() {
    for (const [site, own] of [...this.#sites]) {
      if (!own.waiting.length || !this.#mayRun(own)) continue;
      this.#start(own);
      this.#sites.delete(site); // who was served goes last
      this.#sites.set(site, own);
      own.waiting.shift()?.();
    }
  }
}
