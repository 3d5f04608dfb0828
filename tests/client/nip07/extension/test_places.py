"""Whose request goes next to a signer: no site takes another's place."""

import json
import shutil
import subprocess
from pathlib import Path

from client.nip07._stage import bundled
from support.require import need

MODULE = Path(__file__).parents[4] / "packages/client/extension/homes/places.js"
CHECK = """
const places = new Places(32, 2048);
const running = {}, begun = [], ends = [];
const ask = (site, work) => places.run(site, work ?? (() => {
  running[site] = (running[site] ?? 0) + 1;
  begun.push(site);
  return new Promise((end) => ends.push(() => (running[site]--, end())));
}));
const turn = () => new Promise((next) => setImmediate(next));
const out = {};
const done = Array.from({ length: 16 + 2048 }, () => ask("a"));
await turn();
out.alone = { ...running };
out.refused = await ask("a").catch((error) => error.message);
for (const site of ["b", "b", "c"]) done.push(ask(site));
await turn();
out.others = { ...running };
for (let n = 0; n < 20; n++) done.push(ask("d"), ask("e"));
for (let n = 0; n < 80; n++) done.push(ask(`s${n % 8}`));
await turn();
out.full = { ...running };
const last = ask("z", async () => "late");
done.push(last);
let ended = 0;
let served = false;
void last.then(() => (served = true));
while (!served) (ended++, ends.shift()(), await turn());
out.ended = ended;
while (ends.length) (ends.shift()(), await turn());
await Promise.all(done);
out.begun = begun.length;
out.left = Object.values(running).reduce((sum, n) => sum + n);
out.failed = await ask("a", async () => { throw new Error("no"); }).catch((error) => error.message);
const again = Array.from({ length: 17 }, () => ask("a"));
await turn();
out.again = running.a;
ends.forEach((end) => end());
await turn();
ends.pop()();
await Promise.all(again);
console.log(JSON.stringify(out));
"""


def test_a_site_leaves_half_of_what_is_free_and_is_served_in_turn() -> None:
    """Of 32 places a site alone has 16, all together never more than 32, and none has nothing.

    2048 of a site wait, one more is refused. Who comes last of 14 is served when 13 have been, at
    the latest. What fails gives its place back, too.
    """
    node = shutil.which("node")
    need(node, "Node.js")
    script = bundled(MODULE).replace("export {", "const exported = {").replace(" as ", ": ")
    command = [str(node), "--input-type=module", "-e", script + CHECK]
    out = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert out["alone"] == {"a": 16}
    assert out["refused"] == "rate-limited: too many requests wait for the signer"
    assert out["others"] == {"a": 16, "b": 2, "c": 1}
    assert sum(out["full"].values()) == 32
    assert all(out["full"][site] for site in "abcde")
    assert out["ended"] <= 13
    assert out["begun"] == 16 + 2048 + 3 + 40 + 80
    assert out["left"] == 0
    assert out["failed"] == "no"
    assert out["again"] == 16
