/** Relay URLs: one spelling for each relay. */

import { InvalidInput } from "../errors.js";

const MAX_URL = 1024;

/** Return the normal form of a ws:// or wss:// URL; throws InvalidInput. @param {string} value */
export function parseRelayUrl(value) {
  const plain = value.trim();
  if (plain.length > MAX_URL) throw new InvalidInput("relay URL is too long");
  if (/[\s\p{C}]/u.test(plain)) throw new InvalidInput("relay URL has a space or a control character");
  let url;
  try {
    url = new URL(plain);
  } catch {
    throw new InvalidInput("relay URL can't be read");
  }
  if (url.protocol !== "ws:" && url.protocol !== "wss:") {
    throw new InvalidInput("relay URL does not start with ws:// or wss://");
  }
  if (url.username || url.password || url.hash || plain.includes("@")) {
    throw new InvalidInput("relay URL has a user name or a fragment");
  }
  return url.protocol + "//" + url.host + (url.pathname === "/" ? "" : url.pathname) + url.search;
}

/** Return the HTTP address of a relay's path. @param {string} relay @param {string} path */
export const httpUrl = (relay, path) => relay.replace(/^ws/, "http").replace(/\/$/, "") + path;
