/** How often something may happen. */

/** `burst` at once, then `rate` a second. Time is an argument, in seconds. */
export class TokenBucket {
  /** @param {number} rate @param {number} burst */
  constructor(rate, burst) {
    this.rate = rate;
    this.burst = burst;
    this.tokens = burst;
    /** @type {number | null} */
    this.updated = null;
  }

  /** @param {number} now */
  take(now) {
    if (this.updated !== null && now > this.updated) this.tokens = Math.min(this.burst, this.tokens + (now - this.updated) * this.rate);
    this.updated = now;
    if (this.tokens < 1) return false;
    this.tokens -= 1;
    return true;
  }
}

/** Buckets by name, of the `capacity` names that were used last. */
export class Buckets {
  /** @type {Map<string, TokenBucket>} */
  #buckets = new Map();

  /** @param {number} rate @param {number} burst @param {number} capacity */
  constructor(rate, burst, capacity) {
    this.rate = rate;
    this.burst = burst;
    this.capacity = capacity;
  }

  /** @param {string} name @param {number} now */
  take(name, now) {
    const bucket = this.#buckets.get(name) ?? new TokenBucket(this.rate, this.burst);
    this.#buckets.delete(name);
    this.#buckets.set(name, bucket);
    if (this.#buckets.size > this.capacity) this.#buckets.delete(/** @type {string} */ (this.#buckets.keys().next().value));
    return bucket.take(now);
  }
}
