/** What page and service worker both start with: WebAssembly, storage, transport key, signer. */

import { Relays } from "../net/relay.js";
import { Secp256k1 } from "../secp256k1.js";
import { Database } from "./database.js";
import { KnownOwner } from "./known.js";
import { Signer } from "./signer.js";
import { Transport } from "./transport.js";

/** @typedef {import("../nse/vault.js").Vault} Vault */

/** @param {(key: string) => Vault | null} vaultOf @param {{ state?: () => void, handled?: (work: Promise<void>) => void }} on */
export async function start(vaultOf, on = {}) {
  const [database, wasm] = await Promise.all([Database.open(), fetch("/secp256k1.wasm").then((answer) => answer.arrayBuffer())]);
  const curve = await Secp256k1.start(wasm);
  const transport = await Transport.load(curve, database);
  /** @type {string[]} */
  let own = (await database.setting("relays")) ?? [];
  const signer = new Signer(curve, database, transport, () => own, vaultOf);
  const relays = new Relays(transport, {
    event: (event, relay) => {
      const work = signer.handle(event, relay).catch((error) => console.error("request failed:", error?.name));
      on.handled?.(work);
    },
    state: () => on.state?.(),
  });
  const known = new KnownOwner(database);
  signer.signed = (event) => known.signed(event);
  signer.send = (reply) => relays.send(reply, signer.clock());
  /** Connect to our own relays and to those where paired apps are. */
  const connect = async () => {
    own = (await database.setting("relays")) ?? [];
    const clients = await database.read(["clients"], (tx) => tx.all("clients"));
    relays.keep([...new Set([...own, ...clients.flatMap((client) => client.relays)])]);
  };
  return { database, curve, transport, signer, known, relays, connect, own: () => own };
}
