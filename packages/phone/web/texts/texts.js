/** What the page says, in the language that was chosen or the browser's. */

import { DESCRIBE, Texts } from "../describe/texts.js";
import de from "./de.json" with { type: "json" };
import en from "./en.json" with { type: "json" };

/** @type {Record<string, Record<string, string>>} */
const PAGE = /** @type {any} */ ({ en, de });
export const LANGUAGES = /** @type {[string, string][]} */ ([["en", "English"], ["de", "Deutsch"]]);

/** @param {string | undefined} wanted @param {readonly string[]} accepted */
export function textsFor(wanted, accepted) {
  const found = [wanted, ...accepted.map((item) => item.slice(0, 2).toLowerCase())].find((item) => item && item in PAGE) ?? "en";
  return new Texts(found, { ...DESCRIBE[found], ...PAGE[found] });
}
