/** Where a login is good: the hosts that its event names (NIP-42, NIP-98, Blossom). */

/** @type {Record<number, string>} */
export const LOGIN_TAGS = { 22242: "relay", 27235: "u", 24242: "server" };

/** Return the host and port of a URL, in lower case; "" when there is none. @param {string} address */
export function hostOf(address) {
  const plain = address.replace(/^[\0- ]+/, "").replace(/[\t\r\n]/g, "");
  const found = /^(?:[A-Za-z][A-Za-z0-9+.-]*:)?\/\/([^/?#]*)/.exec(plain)?.[1] ?? "";
  if (found.includes("[") !== found.includes("]")) return "";
  return found.slice(found.lastIndexOf("@") + 1).toLowerCase();
}

/** Return the hosts that a login is good for. @param {import("../nips/event.js").Template} template */
export function hosts({ kind, tags }) {
  const wanted = LOGIN_TAGS[kind];
  const values = tags.filter((tag) => wanted && tag.length > 1 && tag[0] === wanted).map((tag) => tag[1]);
  // Blossom gives a server by its bare domain, the other two by URL.
  return [...new Set(values.map((value) => hostOf(value) || value.toLowerCase()))];
}
