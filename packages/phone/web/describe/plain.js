/** A stranger's text made safe to look at: what is invisible or moves other text becomes visible. */

const MAX_ACCENTS = 4; // combining marks on one letter
const JOINERS = "\u200c\u200d"; // Persian and Indic spelling, and emoji of several people

/** A run of text, or (`mark`) the name of one character that must not act. @typedef {{ text: string, mark: boolean }} Piece */

/** Split `text` into what can be shown as it is and what is shown by name. @param {string} text @returns {Piece[]} */
export function pieces(text) {
  /** @type {Piece[]} */
  const found = [];
  const characters = [...text];
  let run = "";
  let accents = 0;
  characters.forEach((character, index) => {
    accents = /\p{M}/u.test(character) ? accents + 1 : 0;
    if (accents <= MAX_ACCENTS && harmless(characters, index)) {
      run += character;
      return;
    }
    if (run) found.push({ text: run, mark: false });
    run = "";
    const code = /** @type {number} */ (character.codePointAt(0)).toString(16).toUpperCase();
    found.push({ text: `U+${code.padStart(4, "0")}`, mark: true });
  });
  if (run) found.push({ text: run, mark: false });
  return found;
}

/** Return a name or an address as one line of harmless text. @param {string} text */
export function line(text, limit = 80) {
  const characters = [...text];
  const words = characters.slice(0, limit).join("").split(/[\s\x1c-\x1f\x85]+/u).filter(Boolean).join(" ");
  return pieces(words).map((piece) => (piece.mark ? "·" : piece.text)).join("") + (characters.length > limit ? "…" : "");
}

/** Return the first and last 8 characters of a key. @param {string} key */
export function short(key) {
  const at = key.startsWith("npub1") || key.startsWith("note1") ? 5 : 0;
  const rest = key.slice(at);
  return rest.length <= 17 ? key : `${key.slice(0, at)}${rest.slice(0, 8)}…${rest.slice(-8)}`;
}

/** @param {string[]} characters @param {number} index */
function harmless(characters, index) {
  const character = characters[index];
  if (character === "\n" || character === "\t") return true;
  if (!/[\p{C}\p{Z}]/u.test(character) || /\p{Zs}/u.test(character)) return true;
  if (!JOINERS.includes(character)) return false;
  const [before, after] = [characters[index - 1], characters[index + 1]];
  return before !== undefined && after !== undefined && joinable(before) && joinable(after);
}

/** Between ASCII letters a joiner can only hide something. @param {string} character */
const joinable = (character) => character > "\x7f" && /[\p{L}\p{M}\p{S}]/u.test(character);
