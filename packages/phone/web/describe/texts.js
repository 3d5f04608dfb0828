/** Sentences by key: what is meant, and how a language says it. The same files as the signer's. */

import en from "../../../core/src/bunker_core/describe/texts/en.json" with { type: "json" };
import de from "../../../core/src/bunker_core/describe/texts/de.json" with { type: "json" };

/** What is said, in no language yet. @typedef {{ key: string, count: number | null, values: Record<string, any> }} Sentence */

/** @type {Record<string, Record<string, string>>} */
export const DESCRIBE = /** @type {any} */ ({ en, de });

/** @param {string} key @param {Record<string, any>} values @param {number | null} count @returns {Sentence} */
export const sentence = (key, values = {}, count = null) => ({ key, count, values });

/** The sentences of one language. */
export class Texts {
  /** @param {string} language @param {Record<string, string>} sentences */
  constructor(language, sentences) {
    this.language = language;
    this.sentences = sentences;
  }

  /** Return a sentence with `values` filled in; a missing key is an error of ours. @param {string} key @param {Record<string, any>} values */
  get(key, values = {}) {
    const text = this.sentences[key];
    if (text === undefined) throw new Error(`no sentence ${key}`);
    return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
  }

  /** @param {string} key */
  has(key) {
    return key in this.sentences;
  }

  /** @param {string} key @param {number} count @param {Record<string, any>} values */
  number(key, count, values = {}) {
    return this.get(`${key}.${count === 1 ? "one" : "other"}`, { ...values, count });
  }

  /** Return a sentence in this language. @param {Sentence} said @returns {string} */
  say({ key, count, values }) {
    const filled = Object.fromEntries(
      Object.entries(values).map(([name, value]) => [name, value !== null && typeof value === "object" ? this.say(value) : value]),
    );
    return count === null ? this.get(key, filled) : this.number(key, count, filled);
  }
}
