// Bundle the extension into bunker_client/nip07/extension: `make extension`; into a folder that is named.
//
// Its modules are the phone's, and so are the packages: they are pinned in packages/phone. The same
// sources and packages give the same bytes, and so the same hash, on every machine.
import { copyFileSync, cpSync, mkdirSync, rmSync } from "node:fs";
import { build } from "../../phone/node_modules/esbuild/lib/main.js";

const at = (path) => new URL(path, import.meta.url).pathname;
const phone = at("../../phone");
const out = process.argv[2] ?? at("../src/bunker_client/nip07/extension");
const options = {
  absWorkingDir: at("./"), nodePaths: [`${phone}/node_modules`], bundle: true, minify: true, charset: "utf8",
  target: ["chrome120", "firefox140"], legalComments: "none", logLevel: "warning", outdir: out,
};

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
cpSync(at("./static"), out, { recursive: true });
copyFileSync(`${phone}/web/static/style.css`, `${out}/style.css`);
copyFileSync(`${phone}/node_modules/tiny-secp256k1/lib/secp256k1.wasm`, `${out}/secp256k1.wasm`);
await build({ ...options, entryPoints: { background: "background/main.js", page: "site/page.js", content: "site/content.js" }, format: "iife" });
await build({ ...options, entryPoints: ["prompt", "options", "popup"].map((name) => `pages/${name}.js`), format: "esm" });
