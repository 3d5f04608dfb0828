// Work that is never done twice at once, and never left out.
import assert from "node:assert/strict";
import { test } from "node:test";
import { inTurn } from "../../../packages/phone/web/page/in_turn.js";

/** Work that ends when it is told to, and says what it saw as it began. */
function work() {
  const seen = [];
  const ends = [];
  const state = { now: 0 };
  const run = inTurn(() => {
    seen.push(state.now);
    return new Promise((resolve, reject) => ends.push({ resolve, reject }));
  });
  return { seen, ends, state, run };
}
const turn = () => new Promise((resolve) => setImmediate(resolve));

test("who comes while it is under way gets a run that sees what they did", async () => {
  const { seen, ends, state, run } = work();
  const first = run();
  await turn();
  state.now = 1; // the key is open now, which the run under way has not seen
  const late = [run(), run()];
  await turn();
  assert.deepEqual(seen, [0]); // never twice at once
  ends[0].resolve();
  await first;
  await turn();
  assert.deepEqual(seen, [0, 1]); // one for both
  ends[1].resolve();
  await Promise.all(late);
});

test("a run that fails is told to those who asked for it, and to no one after them", async () => {
  const { ends, run } = work();
  const first = run();
  await turn();
  const second = run();
  ends[0].reject(new Error("no disk"));
  await assert.rejects(first, /no disk/);
  await turn();
  ends[1].resolve();
  await second;
});
