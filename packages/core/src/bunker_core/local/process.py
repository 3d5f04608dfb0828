"""How a program of this project starts itself again, as another process."""

import os
import sys


def module_command(module: str, *arguments: str, isolated: bool = False) -> list[str]:
    """Return the command that runs `module` in a process of its own, with this very Python.

    `isolated` is Python's -I: no variable and no folder of the user has a say in what is imported.
    In a single executable, which needs no Python and is isolated anyway, the executable itself
    takes `-m`.
    """
    if getattr(sys, "frozen", False):
        return [sys.executable, "-m", module, *arguments]
    return [sys.executable, *(("-I",) if isolated else ()), "-m", module, *arguments]


def become(command: list[str]) -> None:
    """Replace this process by another program; whatever it held in memory is gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)  # noqa: S606 -- the command is our own
