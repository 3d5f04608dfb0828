// Bundle the page into src/bunker_phone/site: `make phone`, which installs what is pinned first.
//
// The same sources and packages give the same bytes, and so the same hash, on every machine.
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const at = (path) => new URL(path, import.meta.url).pathname;
const site = at("./src/bunker_phone/site");
const sha256 = (data) => createHash("sha256").update(data).digest("hex");
const lines = (files) => Object.entries(files).map(([path, hash]) => `${hash}  ${path}\n`).join("");
const hashes = () =>
  Object.fromEntries(readdirSync(site).sort().map((name) => [name, sha256(readFileSync(`${site}/${name}`))]));

const options = {
  absWorkingDir: at("./"),
  bundle: true,
  minify: true,
  charset: "utf8",
  target: ["chrome116", "firefox115", "safari17"],
  legalComments: "none",
  logLevel: "warning",
};

rmSync(site, { recursive: true, force: true });
mkdirSync(site, { recursive: true });
cpSync(at("./web/static"), site, { recursive: true });
cpSync(at("./node_modules/tiny-secp256k1/lib/secp256k1.wasm"), `${site}/secp256k1.wasm`);
await build({ ...options, entryPoints: ["web/page/app.js"], outfile: `${site}/app.js`, format: "esm" });

const files = hashes();
const define = { BUNKER_FILES: JSON.stringify(files) };
await build({ ...options, entryPoints: ["web/worker.js"], outfile: `${site}/worker.js`, format: "iife", define });
const hash = sha256(lines(hashes()));
writeFileSync(`${site}/version.json`, JSON.stringify({ id: sha256(lines(files)), hash }));
console.log(`page ${hash}`);
