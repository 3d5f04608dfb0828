"""The machine: its name, its cores, what a process uses of them, how fast they are just now."""

import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from bunker_core.keys import SecretKey
from bunker_core.keys.libsecp256k1 import CONTEXT, ffi, lib

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_CHECKS: Final = 128  # different signatures
_VERSIONS: Final = (
    "uvicorn", "starlette", "websockets", "uvloop", "httptools", "coincurve",
    "btclib-secp256k1", "orjson",
    "cryptography", "sqlalchemy",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used so far."""

    cpu: float  # seconds, user and system
    rss: int  # bytes, now
    at: float  # time.perf_counter()


def cores() -> tuple[int, int]:
    """Return the cores of what is measured and of the load generator; there may be but one."""
    free = sorted(os.sched_getaffinity(0))
    return free[0], free[-1]


def usage(pid: int, *, family: bool = True) -> Usage:
    """Return what the process, and its children unless `family` is False, has used (Linux)."""
    ticks = pages = 0
    for member in (pid, *(_children(pid) if family else ())):
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
        pages += int(fields[21])
    return Usage(ticks / _TICKS, pages * _PAGE, time.perf_counter())


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process, its threads included, to the nanosecond (Linux)."""
    return (
        sum(
            int(path.read_text().split()[0])
            for path in Path(f"/proc/{pid}/task").glob("*/schedstat")
        )
        / 1e9
    )


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except OSError:  # a thread that has just ended
            continue
    return found + [grandchild for child in found for grandchild in _children(child)]


def verifications_per_second(seconds: float, core: int) -> float:
    """Return how many signatures libsecp256k1 checks on `core`, keys parsed, nothing else done."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        return 1 / _verification(seconds, time.perf_counter)
    finally:
        os.sched_setaffinity(0, before)


def verification_seconds(seconds: float) -> float:
    """Return what one check takes of a processor, however busy it is with others."""
    return _verification(seconds, time.process_time)


def _verification(seconds: float, clock: Callable[[], float]) -> float:
    checks = _checks()
    context = CONTEXT
    verify = lib.secp256k1_schnorrsig_verify
    done = 0
    start = clock()
    while (elapsed := clock() - start) < seconds:
        for signature, message, xonly in checks:
            verify(context, signature, message, 32, xonly)
        done += len(checks)
    return elapsed / done


@cache
def _checks() -> list[tuple[bytes, bytes, Any]]:
    """Return signatures to check: a processor learns a single one by heart, a tenth of its time."""
    checks = []
    for number in range(_CHECKS):
        key = SecretKey(bytes(31) + bytes((number + 1,)))
        message = sha256(key.pubkey.encode()).digest()
        xonly = ffi.new("secp256k1_xonly_pubkey *")
        lib.secp256k1_xonly_pubkey_parse(CONTEXT, xonly, bytes.fromhex(key.pubkey))
        checks.append((key.sign(message), message, xonly))
    return checks


def describe() -> dict[str, str]:
    """Name the machine and the versions that a figure depends on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    facts = {
        "date": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "cpu": f"{len(os.sched_getaffinity(0))} x {model}",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * _PAGE / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        # Which one: of two builds of the same version one may be half as fast again.
        "python": f"{sys.version.split()[0]}, {Path(sys.executable).resolve()}",
    }
    for name in _VERSIONS:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            continue
    return facts
