/** The three homes of a key, behind one function: a remote signer, the extension itself, the program. */

import { BunkerError } from "../../../phone/web/errors.js";
import { Secp256k1 } from "../../../phone/web/secp256k1.js";
import { random, toHex } from "../../../phone/web/bytes.js";
import { invite, pairByUri, RemoteSigner } from "../homes/remote.js";
import { passkeySlot } from "../homes/passkey.js";
import { recoveryCopy, SealedKeys, sealKey } from "../homes/sealed.js";

/** @typedef {import("./state.js").State} State */
/** @typedef {import("./state.js").Identity} Identity */
/** @typedef {import("./call.js").Operation} Operation */
/** @typedef {import("../homes/sealed.js").Opener} Opener */

const RELAYS_ASKED = 3600_000; // milliseconds between two questions for the signer's relays (NIP-46)

export class Homes {
  /** @type {Promise<Secp256k1> | null} */
  #curve = null;
  /** @type {Map<string, RemoteSigner>} */
  #remotes = new Map();
  /** @type {Map<string, number>} */
  #moved = new Map();
  /** @type {{ paired: Promise<Identity>, cancel: () => void } | null} */
  #invitation = null;

  /** @param {any} api the browser's @param {State} state @param {{ native: (operation: Operation) => Promise<any>, awake: (change: number) => void }} on */
  constructor(api, state, on) {
    this.api = api;
    this.state = state;
    this.on = on;
    this.sealed = new SealedKeys(on);
  }

  curve() {
    this.#curve ??= fetch(this.api.runtime.getURL("secp256k1.wasm")).then((answer) => answer.arrayBuffer()).then((bytes) => Secp256k1.start(bytes));
    return this.#curve;
  }

  /** @param {Identity} identity */
  locked(identity) {
    return identity.home === "sealed" && this.sealed.locked(identity.id);
  }

  /** Do what a site was granted; throws BunkerError. @param {string} site @param {Identity} identity @param {Operation} operation @param {() => boolean} still */
  async perform(site, identity, operation, still) {
    if (operation.action.method === "get_public_key" && identity.pubkey) return identity.pubkey;
    if (identity.home === "native") return this.on.native(operation);
    if (identity.home === "sealed") return this.sealed.perform(site, identity.id, operation, still);
    const signer = await this.#remote(identity);
    return signer.perform(site, operation, identity.pubkey, still);
  }

  /** @param {Identity} identity */
  async #remote(identity) {
    if (!identity.remote) throw new BunkerError("error: this identity has no signer");
    let signer = this.#remotes.get(identity.id);
    if (!signer) {
      signer = new RemoteSigner(await this.curve(), identity.remote, this.#owner());
      this.#remotes.set(identity.id, signer);
    }
    this.#follow(identity.id, signer);
    return signer;
  }

  /** Ask for the signer's relays now and then, as NIP-46 has it; nobody waits: some never answer. @param {string} id @param {RemoteSigner} signer */
  #follow(id, signer) {
    const now = Date.now();
    if (now - (this.#moved.get(id) ?? 0) <= RELAYS_ASKED) return;
    this.#moved.set(id, now);
    void signer.switchRelays().then((moved) => (moved ? this.state.save("identities") : undefined)).catch(() => {});
  }

  /** How the relays of each remote signer are, of those that are in use. @param {string} id */
  relays(id) {
    return this.#remotes.get(id)?.states ?? null;
  }

  /** Pair by a bunker:// address; throws BunkerError. @param {string} uri */
  async pair(uri) {
    return this.#add(await pairByUri(await this.curve(), uri, nameOf(this.api), this.#owner()));
  }

  /** Return the nostrconnect:// address to show; `invited` waits for the answer. @param {string[]} relays */
  async invite(relays) {
    this.#invitation?.cancel();
    const made = await invite(await this.curve(), relays, nameOf(this.api), this.#owner());
    const paired = made.paired.then((found) => this.#add(found));
    paired.catch(() => {});
    this.#invitation = { paired, cancel: made.cancel };
    return made.uri;
  }

  async invited() {
    if (!this.#invitation) throw new BunkerError("error: the code is not shown any more");
    return this.#invitation.paired;
  }

  /** Seal a key here; a new one is not used before its recovery copy is saved. Throws BunkerError. @param {{ key: string, keyPassphrase: string }} given @param {Opener} opener @param {number} now */
  async seal(given, opener, now) {
    const { pubkey, blob } = await sealKey(await this.curve(), given, opener, now);
    if (this.state.kept.identities.some((item) => item.home === "sealed" && item.pubkey === pubkey)) throw new BunkerError("this key is sealed here already");
    /** @type {Identity} */
    const identity = { id: toHex(random(8)), home: "sealed", name: "", pubkey, blob, unsaved: !given.key };
    await this.unlock(identity, opener); // opened again before it is relied on
    await this.state.addIdentity(identity);
    return identity;
  }

  /** Have a sealed key for the time of the settings; throws NSEError. @param {Identity} identity @param {Opener} opener */
  async unlock(identity, opener) {
    if (!identity.blob) throw new BunkerError("this key is not sealed here");
    await this.sealed.unlock(await this.curve(), identity.id, identity.blob, opener, this.state.kept.settings.minutes);
  }

  /** What the page that asks a key's passkey needs; null when it has none. @param {Identity} identity */
  passkey({ blob }) {
    return (blob && passkeySlot(blob)?.params) ?? null;
  }

  /** Let a passkey open a key as well; throws NSEError. @param {Identity} identity @param {Opener} opener the passphrase @param {import("../homes/sealed.js").AskedInPage} passkey */
  async addPasskey(identity, opener, passkey) {
    if (!identity.blob) throw new BunkerError("this key is not sealed here");
    identity.blob = await this.sealed.addPasskey(await this.curve(), identity.id, identity.blob, opener, this.state.kept.settings.minutes, passkey);
    await this.state.save("identities");
  }

  /** Let the passphrase alone open a key; throws NSEError. @param {Identity} identity @param {Opener} opener the passphrase */
  async removePasskey(identity, opener) {
    if (!identity.blob) throw new BunkerError("this key is not sealed here");
    identity.blob = await this.sealed.removePasskey(await this.curve(), identity.id, identity.blob, opener, this.state.kept.settings.minutes);
    await this.state.save("identities");
  }

  /** @param {Identity} identity @param {Opener} opener @param {string} passphrase */
  async copy(identity, opener, passphrase) {
    if (!identity.blob) throw new BunkerError("this key is not sealed here");
    return recoveryCopy(await this.curve(), identity.blob, opener, passphrase);
  }

  /** @param {{ signer: RemoteSigner, pubkey: string }} found */
  async #add({ signer, pubkey }) {
    const { identities } = this.state.kept;
    const known = identities.find((item) => item.home === "remote" && item.pubkey === pubkey);
    if (known) {
      // Paired anew: the sites go on with the same identity.
      this.forget(known.id);
      known.remote = signer.remote;
      await this.state.save("identities");
      this.#paired(known.id, signer);
      return known;
    }
    /** @type {Identity} */
    const identity = { id: toHex(random(8)), home: "remote", name: "", pubkey, remote: signer.remote };
    await this.state.addIdentity(identity);
    this.#paired(identity.id, signer);
    return identity;
  }

  /** @param {string} id @param {RemoteSigner} signer */
  #paired(id, signer) {
    this.#remotes.set(id, signer);
    this.#moved.delete(id);
    this.#follow(id, signer);
  }

  /** Leave a signer; what was asked of it fails. @param {string} id */
  forget(id) {
    this.#remotes.get(id)?.close();
    this.#remotes.delete(id);
    this.sealed.lock(id);
  }

  #owner() {
    // NIP-46: the signer's owner has to visit this page; it is their browser, so it is shown here.
    return { page: (/** @type {string} */ url) => void this.api.tabs.create({ url }).catch(() => {}) };
  }
}

/** How the extension is named in a signer's list. @param {any} api */
const nameOf = (api) => `nostr-bunker in ${api.runtime.getURL("").startsWith("moz-") ? "Firefox" : "Chromium"}`;
