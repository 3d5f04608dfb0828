"""The console's scripts keep the types that their comments give."""

import subprocess
from pathlib import Path

from support.require import need

PACKAGES = Path(__file__).parents[4] / "packages"
COMPILER = PACKAGES / "phone" / "node_modules" / ".bin" / "tsc"


def test_the_scripts_keep_their_types() -> None:
    """`tsc --checkJs --strict`, as for the phone's page and the extension."""
    need(COMPILER.is_file(), "what `make phone` installs")
    done = subprocess.run(
        [COMPILER, "--project", PACKAGES / "signer" / "tsconfig.json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
