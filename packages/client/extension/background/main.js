/**
 * The extension's middle: what pages call, what its own pages want, and the browser's events.
 *
 * A browser ends it when nothing happens for 30 seconds, and starts it again for the next event:
 * everything that must outlast this is in State. While something waits, it keeps itself awake.
 */

import { BunkerError } from "../../../phone/web/errors.js";
import { parseRelayUrl } from "../../../phone/web/nips/relay_url.js";
import { NativeProgram } from "../homes/native.js";
import { needsKey, readCall } from "./call.js";
import { Prompts, relaysOf } from "./prompts.js";
import { Homes } from "./homes.js";
import { Budget } from "./budget.js";
import { State } from "./state.js";
import { PromptWindow } from "./window.js";

const api = globalThis.browser ?? globalThis.chrome;
const MAX_BYTES = 1_000_000; // of a call, as in page.js: a page can go round that
const AWAKE = 20_000; // milliseconds: less than what a browser waits
const LONE = /(?<!\\)(?:\\\\)*\\ud[89a-f]/i; // JSON.stringify writes half a pair that way, and no other
const NATIVE = "native";
const OWN = api.runtime.getURL("");

/** @typedef {import("./state.js").Identity} Identity */
/** @typedef {import("./prompts.js").Reply} Reply */
/** @typedef {Awaited<ReturnType<typeof start>>} Started */

const budget = new Budget();
let busy = 0;
/** @type {ReturnType<typeof setInterval> | undefined} */
let awake;

/** Count what is under way; while something is, the browser must not end us. @param {number} change */
function work(change) {
  busy += change;
  if (busy && !awake) awake = setInterval(() => void api.runtime.getPlatformInfo(), AWAKE);
  if (!busy) {
    clearInterval(awake);
    awake = undefined;
  }
}

const started = start();
const prompt = new PromptWindow(api, () => void answerAsked(), () => void answerAsked());

async function answerAsked() {
  const { prompts } = await started;
  if (prompts.asked) await prompts.answer(prompts.asked.id, { verdict: "deny" });
}

async function start() {
  const state = await State.open();
  const now = () => Math.floor(Date.now() / 1000);
  const native = new NativeProgram(api, {
    question: (id, call) => void askFor(id, call),
    withdrawn: (id) => prompts.withdraw((question) => question.native !== undefined && (id === null || question.native === id)),
  });
  const homes = new Homes(api, state, {
    native: async () => {
      const reply = await native.call("https://settings.invalid", "", "getPublicKey", []);
      if (reply.error !== undefined) throw new BunkerError(reply.error);
      return reply.result;
    },
    awake: work,
  });
  const prompts = new Prompts(state, {
    now,
    show: (question) => void (question ? prompt.open() : prompt.close()),
    perform: (site, identity, operation, still) => homes.perform(site, identity, operation, still),
    locked: (identity) => homes.locked(identity),
    changed: () => void api.action.setBadgeText({ text: prompts.waiting ? String(prompts.waiting) : "" }),
  });

  /** Put the program's question to the user. @param {number} id @param {import("../homes/native.js").Call} call */
  async function askFor(id, { origin, page, method, params }) {
    const identity = state.kept.identities.find((item) => item.home === "native");
    try {
      if (!identity) throw new BunkerError("error: the program was given up");
      const author = Array.isArray(params) && typeof params[0]?.pubkey === "string" ? params[0].pubkey : "";
      const operation = readCall(method, params, author, now());
      const answer = await prompts.ask({ origin, page, identity, operation, unlock: false, native: id });
      if (answer) native.answer(id, answer.verdict);
    } catch {
      native.answer(id, "deny");
    }
  }

  // A copy that `bunker nip07 install` made has the leave to start the program, and so this home.
  if (!state.kept.identities.length && (await mayStart())) await addNative(state);
  return { state, native, homes, prompts };
}

const mayStart = () => api.permissions.contains({ permissions: ["nativeMessaging"] });

/** @param {State} state */
async function addNative(state) {
  if (state.kept.identities.some((item) => item.home === "native")) return;
  await state.addIdentity({ id: NATIVE, home: "native", name: "", pubkey: "" });
}

// --- what web pages call ------------------------------------------------------------------------

/** Name one page of a tab. @param {any} sender @param {unknown} own what its script calls itself */
const pageOf = (sender, own) => `${sender?.tab?.id}:${own}`;

/** @param {any} message @param {any} sender @returns {Promise<Reply>} */
async function called(message, sender) {
  const text = JSON.stringify(message.params ?? null);
  if (LONE.test(text) || new TextEncoder().encode(text).length > MAX_BYTES) return { error: "invalid: the call is too large, or not Unicode" };
  // Who calls is the browser's word, never the page's.
  const origin = sender.origin ?? new URL(sender.url).origin;
  if (!/^https?:\/\//.test(origin)) return { error: "invalid: only web sites have a signer" };
  /** @type {() => void} */
  let done;
  try {
    done = budget.take(origin, text.length);
  } catch (error) {
    return { error: /** @type {Error} */ (error).message };
  }
  work(1);
  try {
    const { state, native, prompts } = await started;
    const identity = state.identityOf(origin);
    if (!identity) return { error: "error: nostr-bunker has no key yet: open its settings" };
    const { method, params } = message;
    const page = pageOf(sender, message.page);
    if (identity.home !== "native") return await prompts.call(origin, page, identity, method, params);
    if (method !== "getRelays") return await native.call(origin, page, method, params);
    const { error } = await native.call(origin, page, "getPublicKey", []);
    return error === undefined ? { result: relaysOf(state.kept.settings.relays) } : { error };
  } finally {
    done();
    work(-1);
  }
}

// A page that is closed or loaded anew takes its calls along, and the question of one of them.
api.runtime.onConnect.addListener((/** @type {any} */ port) => {
  const page = pageOf(port.sender, port.name);
  port.onDisconnect.addListener(async () => {
    const { prompts, native } = await started;
    native.gone(page);
    prompts.withdraw((question) => question.native === undefined && question.page === page);
  });
});

// --- what our own pages want --------------------------------------------------------------------

/** @type {Record<string, (started: Started, message: any) => any>} */
const WANTED = {
  ask: ({ prompts, state, homes }) => {
    const question = prompts.asked;
    if (!question) return null;
    const { id, origin, identity, operation, unlock, native } = question;
    const others = native === undefined && !unlock && operation.action.method === "get_public_key" ? state.kept.identities.filter((item) => !item.unsaved) : [];
    return { id, origin, identity: shown(identity), operation, unlock, locked: needsKey(operation) && homes.locked(identity), native: native !== undefined, identities: others.map(shown), passkey: homes.passkey(identity), settings: state.kept.settings };
  },
  answer: async ({ prompts, homes }, { id, answer, opener }) => {
    const question = prompts.asked;
    if (!question || question.id !== id) return;
    const { identity, operation } = question;
    const allows = ["once", "hour", "always"].includes(answer.verdict);
    // A wrong passphrase is told in the window, which stays.
    if (allows && needsKey(operation) && homes.locked(identity)) await homes.unlock(identity, opener);
    prompt.close(); // the next question has a window of its own
    await prompts.answer(id, answer);
  },
  state: async ({ state, prompts, homes }) => ({
    identities: state.kept.identities.map((item) => ({ ...shown(item), locked: homes.locked(item), passkey: homes.passkey(item), relays: homes.relays(item.id) ?? item.remote?.relays.map((url) => ({ url, ok: null, error: "" })) ?? [] })),
    sites: state.kept.sites, settings: state.kept.settings, activity: state.kept.activity, waiting: prompts.waiting, now: prompts.outside.now(),
  }),
  pair: async ({ homes }, { uri }) => shown(await homes.pair(String(uri))),
  invite: ({ homes }, { relays }) => homes.invite(relays.map(String)),
  invited: async ({ homes }) => shown(await homes.invited()),
  seal: async ({ homes, prompts }, { key, keyPassphrase, opener }) => shown(await homes.seal({ key: String(key), keyPassphrase: String(keyPassphrase) }, opener, prompts.outside.now())),
  copy: ({ state, homes }, { id, opener, passphrase }) => homes.copy(found(state, id), opener, String(passphrase)),
  saved: async ({ state }, { id }) => {
    found(state, id).unsaved = false;
    await state.save("identities");
  },
  unlock: ({ state, homes }, { id, opener }) => homes.unlock(found(state, id), opener),
  exchange: ({ homes }) => homes.sealed.exchange.address(),
  add_passkey: ({ state, homes }, { id, opener, passkey }) => homes.addPasskey(found(state, id), opener, passkey),
  remove_passkey: ({ state, homes }, { id, opener }) => homes.removePasskey(found(state, id), opener),
  lock: ({ homes }) => homes.sealed.lockAll(),
  native: async ({ state }) => {
    if (!(await mayStart())) throw new BunkerError("the browser was not given leave to start the program");
    await addNative(state);
  },
  remove: async ({ state, homes, prompts }, { id }) => {
    prompts.withdraw((question) => question.identity.id === id);
    homes.forget(id);
    await state.removeIdentity(id);
  },
  rename: async ({ state }, { id, name }) => {
    found(state, id).name = String(name).trim().slice(0, 64);
    await state.save("identities");
  },
  choose: ({ state }, { origin, identity }) => state.setSite(String(origin), { identity: String(identity) }),
  forget: ({ state }, { origin, grant }) =>
    state.setSite(String(origin), { grants: state.grantsOf(String(origin)).filter((item) => grant && (item.method !== grant.method || item.param !== grant.param)) }),
  settings: async ({ state }, { settings }) => {
    const { language, relays, identity, minutes } = { ...state.kept.settings, ...settings };
    state.kept.settings = { language: String(language), relays: relays.map(parseRelayUrl).slice(0, 20), identity: String(identity), minutes: Math.min(24 * 60, Math.max(1, Number(minutes) || 15)) };
    await state.save("settings");
  },
  show: () => prompt.focus(),
};

/** What our pages get to know of somebody: no key. @param {Identity} identity */
const shown = ({ id, home, name, pubkey, unsaved }) => ({ id, home, name, pubkey, unsaved });

/** @param {State} state @param {string} id */
function found(state, id) {
  const identity = state.kept.identities.find((item) => item.id === id);
  if (!identity) throw new BunkerError("that identity is not there any more");
  return identity;
}

/** @param {any} message */
async function wanted(message) {
  work(1);
  try {
    const handler = Object.hasOwn(WANTED, message.type) ? WANTED[message.type] : null;
    if (!handler) return { error: "unknown" };
    return { result: (await handler(await started, message)) ?? null };
  } catch (error) {
    return { error: error instanceof BunkerError ? error.message : "the extension failed" };
  } finally {
    work(-1);
  }
}

api.runtime.onMessage.addListener((/** @type {any} */ message, /** @type {any} */ sender, /** @type {(reply: any) => void} */ answer) => {
  if (sender.id !== api.runtime.id || message === null || typeof message !== "object") return false;
  if (typeof sender.url === "string" && sender.url.startsWith(OWN)) void wanted(message).then(answer);
  else if (message.type === "call" && sender.tab && sender.frameId === 0) void called(message, sender).then(answer, () => answer({ error: "error: the extension failed" }));
  else return false;
  return true; // the answer comes later
});

api.runtime.onInstalled.addListener(async (/** @type {{ reason: string }} */ { reason }) => {
  const { state } = await started;
  if (reason === "install" && !state.kept.identities.length) await api.runtime.openOptionsPage();
});
