/** What becomes of calls that wait while the user takes back, or lets end, what a site may do. */

import { Prompts } from "../../../../packages/client/extension/background/prompts.js";
import { State } from "../../../../packages/client/extension/background/state.js";
import { Places } from "../../../../packages/client/extension/homes/places.js";

const ORIGIN = "https://a.example";
const ME = { id: "me", home: /** @type {const} */ ("sealed"), name: "", pubkey: "ab".repeat(32) };
const NOTE = { kind: 1, content: "hi", tags: [], created_at: 1 };
const turn = () => new Promise((next) => setImmediate(next));

/** @param {number | null} expires_at */
async function stage(expires_at) {
  const state = new State(null, { identities: [ME] });
  await state.remember(ORIGIN, { method: "sign_event", param: "1", effect: "allow", expires_at, uses_left: null, rate: null });
  const places = new Places(2, 100);
  const now = { time: 100, locked: false, signed: 0 };
  /** @type {(() => void)[]} */
  const ends = [];
  const prompts = new Prompts(state, {
    now: () => now.time, show: () => {}, changed: () => {}, locked: () => now.locked,
    perform: (site, _identity, _operation, still) => places.run(site, () => new Promise((end) => ends.push(() => end((now.signed += 1)))), still),
  });
  const call = () => prompts.call(ORIGIN, "1", ME, "signEvent", [NOTE]);
  const finish = async () => {
    for (await turn(); ends.length; await turn()) ends.shift()?.();
  };
  return { state, prompts, now, ends, call, finish };
}

const out = /** @type {Record<string, any>} */ ({});
const words = (/** @type {{ error?: string }[]} */ replies) => replies.map(({ error }) => error ?? "signed");
for (const how of ["taken", "over"]) {
  const { state, now, ends, call, finish } = await stage(how === "over" ? 200 : null);
  const calls = [call(), call(), call()]; // a site alone has one of two places
  await turn();
  ends.shift()?.();
  await turn(); // the second is under way
  if (how === "over") now.time = 200;
  else await state.setSite(ORIGIN, { grants: [] });
  await finish();
  out[how] = words(await Promise.all(calls));
}
{
  const { state, prompts, now, call, finish } = await stage(null);
  now.locked = true;
  const calls = [call(), call()];
  await turn();
  out.unlock = prompts.asked?.unlock;
  await state.setSite(ORIGIN, { grants: [] });
  now.locked = false;
  await prompts.answer(prompts.asked?.id ?? 0, { verdict: "once" });
  await turn();
  out.asked = prompts.asked && !prompts.asked.unlock; // and not signed for the unlocking
  out.signed = now.signed;
  await prompts.answer(prompts.asked?.id ?? 0, { verdict: "deny" });
  await finish();
  out.both = words(await Promise.all(calls));
}
{
  const { prompts, now, call, finish } = await stage(null);
  now.locked = true;
  const calls = [call(), call()];
  await turn();
  now.locked = false;
  await prompts.answer(prompts.asked?.id ?? 0, { verdict: "once" });
  await finish();
  out.open = words(await Promise.all(calls));
}
console.log(JSON.stringify(out));
