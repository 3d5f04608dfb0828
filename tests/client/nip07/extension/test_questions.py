"""What a site may do is what holds when it is done, not when it was asked."""

import json
import shutil
import subprocess
from pathlib import Path

from client.nip07._stage import bundled
from support.require import need

SCRIPT = Path(__file__).parent / "questions.js"
OVER = "denied: the user does not allow it any more"
DENIED = "denied: the user does not allow it"


def test_a_grant_that_ends_or_is_taken_away_ends_what_waits_as_well() -> None:
    """What is under way is finished; what waits for its turn, or for the key, is not done."""
    node = shutil.which("node")
    need(node, "Node.js")
    command = [str(node), "--input-type=module", "-"]
    script = bundled(SCRIPT)
    run = subprocess.run(command, input=script, capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == {
        "taken": ["signed", "signed", OVER],
        "over": ["signed", "signed", OVER],
        "unlock": True,
        "asked": True,
        "signed": 0,
        "both": [DENIED, DENIED],
        "open": ["signed", "signed"],
    }
