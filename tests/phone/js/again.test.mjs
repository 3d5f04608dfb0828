// What nobody heard is sent again, a few times; a client that never listens holds up nobody else.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Again } from "../../../packages/phone/web/signer/again.js";

test("it is sent again at growing pauses until it is heard, and at most five times", async () => {
  const pauses = [];
  const again = new Again(async (milliseconds) => void pauses.push(milliseconds));
  let tries = 0;
  await again.send("a", async () => (tries += 1) === 2);
  assert.deepEqual([tries, pauses], [2, [200, 500]]);
  await again.send("a", async () => void (tries += 1));
  assert.deepEqual([tries, pauses.slice(2)], [7, [200, 500, 1000, 2000, 3000]]);
});

test("8 answers of one client are sent again at a time, and 64 in all", async () => {
  let go;
  const gone = new Promise((resolve) => (go = resolve));
  const again = new Again(() => gone);
  const sent = [];
  const all = [];
  const send = (client) => all.push(again.send(client, async () => Boolean(sent.push(client))));
  for (let turn = 0; turn < 20; turn += 1) send("deaf");
  for (let other = 0; other < 100; other += 1) send(`other ${other}`);
  go();
  await Promise.all(all);
  assert.equal(sent.filter((client) => client === "deaf").length, 8);
  assert.equal(sent.length, 64);
  send("deaf");
  await all.at(-1);
  assert.equal(sent.length, 65, "and those that are over make room");
});

test("one that fails ends alone", async (context) => {
  context.mock.method(console, "error", () => {});
  const again = new Again(async () => {});
  await again.send("a", async () => {
    throw new TypeError("secret");
  });
  assert.deepEqual(console.error.mock.calls.map((call) => call.arguments), [["answer failed:", "TypeError"]]);
});
