"""How the extension writes down what it keeps: nothing is said to be kept that is not."""

import json
import shutil
import subprocess
from pathlib import Path

from client.nip07._stage import bundled
from support.require import need

MODULE = Path(__file__).parents[4] / "packages/client/extension/background/state.js"
CHECK = """
const begun = [];
const database = { transaction: (_store, mode, options) => {
  const one = { mode, ...options, parts: {}, error: new Error("the disk is full") };
  one.objectStore = () => ({ put: (value, part) => (one.parts[part] = structuredClone(value)) });
  begun.push(one);
  return one;
} };
const state = new State(database, {});
const told = [];
const turn = () => new Promise((next) => setImmediate(next));
const entry = { origin: "https://a.example", identity: "me", what: null, outcome: "allowed" };
const note = (at) =>
  void state.note({ ...entry, at }).then(() => told.push(at), (error) => told.push(error.message));
const grant = { method: "sign_event", param: "1", effect: "allow", expires_at: null };
const shape = ({ mode, durability, parts }) =>
  [mode, durability, Object.keys(parts).sort(), parts.activity.at(-1).at];
const out = {};
note(0);
await turn();
for (let at = 1; at < 400; at++) note(at);
void state.remember("https://a.example", grant).then(() => told.push("granted"));
await turn();
out.early = [begun.length, told.length];
begun[0].oncomplete();
await turn();
out.first = [[...told], begun.map(shape)];
begun[1].oncomplete();
await turn();
out.all = [told.length, told.at(-1), begun.length];
note(400);
note(401);
await turn();
note(402);
begun[2].onabort();
await turn();
out.failed = told.slice(-2);
begun[3].oncomplete();
await turn();
out.after = [told.at(-1), shape(begun[3])];
console.log(JSON.stringify(out));
"""


def test_what_comes_while_a_write_is_under_way_is_written_together() -> None:
    """400 calls and a grant are two writes to the disk; each hears of the one that has it.

    One that fails is told to all that it had, and the next is begun all the same.
    """
    node = shutil.which("node")
    need(node, "Node.js")
    script = bundled(MODULE).replace("export {", "const exported = {").replace(" as ", ": ")
    command = [str(node), "--input-type=module", "-e", script + CHECK]
    out = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    how = ["readwrite", "strict"]
    assert out == {
        "early": [1, 0],
        "first": [[0], [[*how, ["activity"], 0], [*how, ["activity", "sites"], 399]]],
        "all": [401, "granted", 2],
        "failed": ["the disk is full"] * 2,
        "after": [402, [*how, ["activity"], 402]],
    }
