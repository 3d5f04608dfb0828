"""How often somebody may try to open the key that is sealed in the extension."""

import json
import shutil
import subprocess
from pathlib import Path

from client.nip07._stage import bundled
from support.require import need

HERE = Path(__file__).parent
CURVE = HERE.parents[3] / "packages/phone/node_modules/tiny-secp256k1/lib/secp256k1.wasm"


def test_wrong_passphrases_alone_count_against_their_owner() -> None:
    """12 right ones in a row open the key; after 5 wrong ones none is tried for 5 seconds.

    What is open stays open meanwhile. The right one gives all attempts back.
    """
    node = shutil.which("node")
    need(node and CURVE.is_file(), "Node.js, make extension (npm)")
    read = f"import {{ readFileSync }} from 'node:fs'; globalThis.wasm = readFileSync('{CURVE}');"
    script = read + bundled(HERE / "attempts.js")
    command = [str(node), "--input-type=module", "-"]
    run = subprocess.run(command, input=script, capture_output=True, text=True, check=True)
    out = json.loads(run.stdout)
    wrong = "slot k1 does not open: wrong passphrase, or the file was changed"
    many = "too many attempts: wait some seconds"
    assert out == {
        "right": ["open"] * 12,
        "wrong": [wrong] * 5,
        "refused": [many] * 2,
        "open": True,
        "early": many,
        "later": "open",
        "again": [wrong] * 5 + [many],
        "both": [many],
    }
