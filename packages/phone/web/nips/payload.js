/** What is wrong with a text before it is encrypted or decrypted, so far as that is no secret. */

import * as nip04 from "./nip04.js";

/** Return why `method` can't be done with `text`, "" if it may be done. @param {string} method @param {string} text */
export function fault(method, text) {
  switch (method) {
    case "nip44_encrypt":
    case "nip04_encrypt":
      if (/** @type {any} */ (text).isWellFormed?.() === false) return "the text is not Unicode: it has half of a surrogate pair";
      return method === "nip44_encrypt" && !text ? "the text is empty: NIP-44 encrypts one byte or more" : "";
    case "nip44_decrypt":
    case "nip04_decrypt":
      if (!text.trim()) return "there is nothing to decrypt";
      if (method === "nip44_decrypt" && nip04.isPayload(text)) return "this is a NIP-04 payload (it has ?iv=): ask for nip04_decrypt";
      return method === "nip04_decrypt" && !nip04.isPayload(text) ? "this is no NIP-04 payload (it has no ?iv=): ask for nip44_decrypt" : "";
    default:
      return "";
  }
}
