"""What one site may have under way, so that it takes no other's place."""

import json
import shutil
import subprocess
from pathlib import Path

from client.nip07._stage import bundled
from support.require import need

MODULE = Path(__file__).parents[4] / "packages/client/extension/background/budget.js"
CHECK = """
const budget = new Budget();
const refused = (origin, size) => {
  try { budget.take(origin, size)(); return ""; } catch (error) { return error.message; }
};
const out = {};
const calls = Array.from({ length: 2048 }, () => budget.take("https://a.example", 100));
out.full = refused("https://a.example", 1);
out.other = refused("https://b.example", 1);
calls.pop()();
out.again = refused("https://a.example", 1);
calls.forEach((done) => done());
out.most = refused("https://a.example", 16 * 1024 * 1024);
out.large = refused("https://a.example", 16 * 1024 * 1024 + 1);
const sites = Array.from({ length: 64 }, (_, n) => budget.take(`https://${n}.example`, 1));
out.sites = refused("https://more.example", 1);
out.known = refused("https://1.example", 1);
sites.forEach((done) => done());
out.free = refused("https://more.example", 1);
console.log(JSON.stringify(out));
"""


def test_a_site_has_a_bound_of_its_own() -> None:
    """2048 calls, 16 Mi characters, 64 sites; what is done makes room, the others never notice."""
    node = shutil.which("node")
    need(node, "Node.js")
    script = bundled(MODULE).replace("export {", "const exported = {").replace(" as ", ": ")
    command = [str(node), "--input-type=module", "-e", script + CHECK]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    many, sites = (
        "rate-limited: too many calls at once",
        "rate-limited: too many sites call at once",
    )
    assert json.loads(out) == {
        **dict.fromkeys(("other", "again", "most", "known", "free"), ""),
        "full": many,
        "large": many,
        "sites": sites,
    }
