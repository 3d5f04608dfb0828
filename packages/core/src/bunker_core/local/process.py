"""How a program of this project starts itself again, as another process."""

import os
import sys
from collections.abc import Mapping
from typing import Final

# Seconds until a process of ours is ready. It takes a fraction of one; on two cores with twenty
# processes to run it was seen to take over twenty.
START_TIMEOUT: Final = 60.0
STOP_TIMEOUT: Final = 5.0  # seconds from SIGTERM until it is killed
# What PyInstaller's start of a single executable tells the processes that it starts: where it has
# unpacked itself.
_UNPACKED: Final = "_PYI_"


def module_command(module: str, *arguments: str, isolated: bool = False) -> list[str]:
    """Return the command that runs `module` in a process of its own, with this very Python.

    `isolated` is Python's -I: no variable and no folder of the user has a say in what is imported.
    In a single executable, which needs no Python and is isolated anyway, the executable itself
    takes `-m`.
    """
    if getattr(sys, "frozen", False):
        return [sys.executable, "-m", module, *arguments]
    return [sys.executable, *(("-I",) if isolated else ()), "-m", module, *arguments]


def bare_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables of a process that is to know nothing of `environment`: none.

    A single executable keeps the word of where it is unpacked. Without it each process would unpack
    some 110 MB again, and leave them behind if it is killed.
    """
    if not getattr(sys, "frozen", False):
        return {}
    return {name: value for name, value in environment.items() if name.startswith(_UNPACKED)}


def become(command: list[str]) -> None:
    """Replace this process by another program; whatever it held in memory is gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)  # noqa: S606 -- the command is our own
