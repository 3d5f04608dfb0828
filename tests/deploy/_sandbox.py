"""Run a command under the system call filter and the memory rule of a systemd unit.

    python _sandbox.py UNIT COMMAND...

systemd itself needs to be the init process for that; libseccomp does not.
"""

import ctypes
import ctypes.util
import errno
import os
import re
import subprocess
import sys
from pathlib import Path

_ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
_PR_SET_MDWE = 65  # Linux 6.3: no page is both writable and executable, ever
_PR_MDWE_REFUSE_EXEC_GAIN = 1


def sets() -> dict[str, list[str]]:
    """Return systemd's sets of system calls, by name."""
    text = subprocess.run(
        ["systemd-analyze", "syscall-filter"], capture_output=True, text=True, check=True
    ).stdout
    found: dict[str, list[str]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("@"):
            found[name := line.strip()] = []
        elif re.match(r"\s+[@\w]", line) and name:
            found[name].append(line.strip())
    return found


def expand(words: list[str], known: dict[str, list[str]]) -> set[str]:
    """Return the system calls that a value of SystemCallFilter= means."""
    calls: set[str] = set()
    for word in words:
        calls |= expand(known[word], known) if word.startswith("@") else {word}
    return calls


def allowed(unit: Path) -> set[str]:
    """Return what a unit's SystemCallFilter= lines leave."""
    known = sets()
    calls: set[str] = set()
    for value in re.findall(r"^SystemCallFilter=(.*)$", unit.read_text(), re.MULTILINE):
        named = expand(value.removeprefix("~").split(), known)
        calls = calls - named if value.startswith("~") else calls | named
    return calls


def apply(calls: set[str]) -> None:
    """Let this process use `calls` alone; all else fails with EPERM, as in the units."""
    library = ctypes.CDLL(ctypes.util.find_library("seccomp"), use_errno=True)
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(_ERRNO | errno.EPERM))
    for call in calls:
        number = library.seccomp_syscall_resolve_name(call.encode())
        if number >= 0:  # others are of other architectures
            library.seccomp_rule_add(context, _ALLOW, number, 0)
    if library.seccomp_load(context) != 0:
        raise OSError("the filter can't be loaded")


def main() -> None:
    unit, *command = sys.argv[1:]
    if "MemoryDenyWriteExecute=yes" in Path(unit).read_text():
        ctypes.CDLL(None).prctl(_PR_SET_MDWE, _PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)
    os.environ["LD_BIND_NOW"] = "1"
    apply(allowed(Path(unit)))
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
