// The tables that Python wrote, and libsecp256k1 for the tests.
import { readFileSync } from "node:fs";
import { Secp256k1 } from "../../../packages/phone/web/secp256k1.js";

const here = new URL("../tables/", import.meta.url);
export const table = (name) => JSON.parse(readFileSync(new URL(`${name}.json`, here), "utf8"));
export const curve = await Secp256k1.start(
  readFileSync(new URL("../../../packages/phone/node_modules/tiny-secp256k1/lib/secp256k1.wasm", import.meta.url)),
);
/** Vectors that are not in this repository; null without them. */
export const vectors = (name) => {
  const path = process.env[name];
  return path ? readFileSync(path, "utf8") : null;
};
