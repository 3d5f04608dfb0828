"""The modules that a Python has loaded, and so holds in memory, once it has run some code."""

import subprocess
import sys


def modules_after(code: str) -> frozenset[str]:
    """Run `code`, which prints nothing, in a Python of its own; return what it has loaded then."""
    program = f"{code}\nimport sys\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    return frozenset(done.stdout.decode().splitlines())
