// Keys are locked when no answer needs them any more, and not before.
import assert from "node:assert/strict";
import { test } from "node:test";
import { whileOpen } from "../../../packages/phone/web/page/while_open.js";

const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Work that ends when it is told to. */
function work() {
  let end;
  const ended = new Promise((resolve) => (end = resolve));
  return { run: () => ended, end };
}

test("an answer that ends does not lock the key under another", async () => {
  let locks = 0;
  const using = whileOpen(async () => false, () => (locks += 1));
  const [first, second] = [work(), work()];
  const both = [using(first.run), using(second.run)];
  first.end();
  await both[0];
  assert.equal(locks, 0);
  second.end();
  await both[1];
  assert.equal(locks, 1);
});

test("one that begins while it is looked up whether to lock has an open key, too", async () => {
  let locks = 0;
  let look;
  const looked = new Promise((resolve) => (look = resolve));
  const using = whileOpen(() => looked, () => (locks += 1));
  const first = using(async () => {});
  await turn();
  const second = work();
  const using2 = using(second.run);
  look(false);
  await first;
  assert.equal(locks, 0);
  second.end();
  await using2;
  assert.equal(locks, 1);
});

test("what fails is told, and locked; what is to stay open stays", async () => {
  let locks = 0;
  const failing = whileOpen(async () => false, () => (locks += 1));
  await assert.rejects(failing(async () => { throw new Error("no passkey"); }), /no passkey/);
  assert.equal(locks, 1);
  await whileOpen(async () => true, () => assert.fail("locked"))(async () => {});
});
