"""Run tests in forks of a process that has read the libraries already."""

import importlib
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator
from enum import Enum
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest
from watch import Choice, Watch

Change = dict[str, Any]
SPARE: Final = 5.0  # seconds that a change may cost beside three times what its tests took
_ALREADY = "ignore::pytest.PytestAssertRewriteWarning"  # that libraries are imported
_ARGUMENTS: Final = ("-x", "-q", "-p", "no:cacheprovider", "-W", _ALREADY)


class Outcome(Enum):
    """What the tests said of a change."""

    NOTICED = "noticed"
    MISSED = "not noticed"
    HUNG = "its tests did not end"


def watch(copies: list[Path], module: str, tests: list[str], scratch: Path) -> dict[str, Any]:
    """Return what the tests do with the module as it is; see `Watch`.

    `imported` has the libraries that they need, `start` the seconds until the first test begins.
    """
    told = scratch / "watched.json"
    told.unlink(missing_ok=True)
    copy, begun = copies[0], time.monotonic()

    def work() -> int:
        watching = Watch(copy / module)
        code = pytest.main([*_ARGUMENTS, f"--basetemp={scratch}/0", *tests], [watching])
        failed = watching.failed or ([f"pytest ended with {code!r}"] if code not in (0, 5) else [])
        found = {
            "failed": failed,
            "tests": watching.tests,
            "imported": _libraries(),
            "start": watching.begun - begun,
        }
        told.write_text(json.dumps(found))
        return 0

    pid = _fork(copy, scratch / "0.log", work)
    try:
        os.waitpid(pid, 0)
    finally:
        _end_group(pid)
    if not told.exists():
        return {"failed": [(scratch / "0.log").read_text()[-2000:]]}
    # Later forks find the other modules compiled, and write nothing down for the changed one.
    for each in copies[1:]:
        for compiled in copy.rglob("*.pyc"):
            place = each / compiled.relative_to(copy)
            place.parent.mkdir(exist_ok=True)
            shutil.copy2(compiled, place)
    found: dict[str, Any] = json.loads(told.read_text())
    return found


def run(
    copies: list[Path],
    module: str,
    tests: list[str],
    runs: list[tuple[Change, dict[str, float]]],
    start: float,
    scratch: Path,
) -> Generator[tuple[Change, Outcome]]:
    """Yield each change with what became of it, as soon as that is known.

    `runs` has the changes, and the tests of each with their seconds; `start` is the seconds until
    the first test begins.
    """
    source = (copies[0] / module).read_text()
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    for copy in copies:
        for compiled in (copy / module).parent.glob(f"__pycache__/{Path(module).stem}.*.pyc"):
            compiled.unlink()
    waiting, free = list(reversed(runs)), list(range(len(copies)))
    at_work: dict[int, tuple[int, Change, float]] = {}
    try:
        while waiting or at_work:
            while waiting and free:
                slot = free.pop()
                change, chosen = waiting.pop()
                (copies[slot] / module).write_text(change["code"])
                files = dict.fromkeys(name.partition("::")[0] for name in chosen)
                arguments = [*_ARGUMENTS, f"--basetemp={scratch}/{slot}", *(files or tests)]
                pid = _fork(
                    copies[slot],
                    scratch / f"{slot}.log",
                    lambda a=arguments, c=chosen: pytest.main(a, [Choice(c)]),  # type: ignore[misc]
                )
                limit = 3 * (start + sum(chosen.values())) + SPARE
                at_work[pid] = (slot, change, time.monotonic() + limit)
            ended = _ended(at_work)
            for pid, outcome in ended:
                slot, change, _ = at_work.pop(pid)
                free.append(slot)
                yield change, outcome
            if not ended:
                time.sleep(0.02)
    finally:
        for pid in at_work:
            _end_group(pid)
        for copy in copies:
            (copy / module).write_text(source)
        del os.environ["PYTHONDONTWRITEBYTECODE"]


def _ended(at_work: dict[int, tuple[int, Change, float]]) -> list[tuple[int, Outcome]]:
    """Return the processes that have ended, or had to, and what their tests said."""
    ended = []
    for pid, (_, _, deadline) in at_work.items():
        late = time.monotonic() > deadline
        if late:
            _interrupt(pid)
        done, status = os.waitpid(pid, 0 if late else os.WNOHANG)
        if done:
            _end_group(pid)
            code = os.waitstatus_to_exitcode(status)
            unnoticed = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
            noticed = Outcome.MISSED if code in unnoticed else Outcome.NOTICED
            ended.append((pid, Outcome.HUNG if late else noticed))
    return ended


def _interrupt(pid: int) -> None:
    """End a process; what its tests started with sessions of their own it ends itself, in time."""
    os.kill(pid, signal.SIGINT)
    for _ in range(100):
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.05)
    os.killpg(pid, signal.SIGKILL)


def _end_group(pid: int) -> None:
    """End what a test left behind."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _fork(copy: Path, log: Path, work: Callable[[], int]) -> int:
    """Return the id of a process that calls `work` in the copy, and ends with what it returns."""
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        _in_fork(copy, log, work)
    return pid


def _in_fork(copy: Path, log: Path, work: Callable[[], int]) -> NoReturn:
    code = 70
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # `__main__` has it stop the run
        to = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(to, 1)
        os.dup2(to, 2)
        os.chdir(copy)
        sources = sorted(str(path) for path in copy.glob("packages/*/src"))
        sys.path[:0] = sources
        os.environ["PYTHONPATH"] = os.pathsep.join(sources)
        if "PYTHONDONTWRITEBYTECODE" in os.environ:
            sys.dont_write_bytecode = True
        importlib.invalidate_caches()
        code = int(work())
    except BaseException:  # noqa: BLE001 -- written down, and the process ends
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _libraries() -> list[str]:
    """Return the modules of Python and of its packages that are imported, ours left out."""
    ours = str(Path.cwd())
    return [
        name
        for name, module in list(sys.modules.items())
        if getattr(module, "__spec__", None) is not None
        and getattr(module, "__file__", None)
        and not str(module.__file__).startswith(ours)
        and module.__spec__ is not None
        and module.__spec__.name == name
        and not name.startswith(("_pytest", "__"))
    ]
