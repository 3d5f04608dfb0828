/** What the extension's own pages share: the way to the background, the texts, saying what went wrong. */

import { Texts } from "../../../phone/web/describe/texts.js";
import { textsFor } from "../../../phone/web/texts/texts.js";
import de from "../texts/de.json" with { type: "json" };
import en from "../texts/en.json" with { type: "json" };

export const api = globalThis.browser ?? globalThis.chrome;
/** @type {Record<string, Record<string, string>>} */
const OWN = { en, de };

/** Ask the background; throws Error with its words. @param {string} type @param {Record<string, any>} fields @returns {Promise<any>} */
export async function send(type, fields = {}) {
  const reply = await api.runtime.sendMessage({ type, ...fields });
  if (reply?.error !== undefined) throw new Error(reply.error);
  return reply?.result;
}

/** Return the sentences in the language that was chosen or the browser's. @param {string} wanted */
export function textsOf(wanted) {
  const { language, sentences } = textsFor(wanted || undefined, navigator.languages);
  document.documentElement.lang = language;
  return new Texts(language, { ...sentences, ...OWN[language] });
}

/** Return who somebody is, in a few words. @param {{ home: string, name: string, pubkey: string }} identity @param {Texts} texts @param {(pubkey: string) => string} short */
export const nameOf = ({ home, name, pubkey }, texts, short) => name || (pubkey ? short(pubkey) : texts.get(`home.${home}`));
