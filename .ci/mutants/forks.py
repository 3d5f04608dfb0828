"""Run tests in forks of a process that has read the libraries already."""

import importlib
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

import pytest
from watch import Choice, Watch

Change = dict[str, Any]
SPARE: Final = 10.0  # seconds that a change may cost beside three times what its tests took
_ALREADY = "ignore::pytest.PytestAssertRewriteWarning"  # that libraries are imported
_ARGUMENTS: Final = ("-x", "-q", "-p", "no:cacheprovider", "-W", _ALREADY)


def watch(copies: list[Path], module: str, tests: list[str], scratch: Path) -> dict[str, Any]:
    """Return what the tests do with the module as it is; see `Watch`.

    `imported` has the libraries that they need.
    """
    told = scratch / "watched.json"
    told.unlink(missing_ok=True)
    copy = copies[0]

    def work() -> int:
        watching = Watch(copy / module)
        code = pytest.main([*_ARGUMENTS, f"--basetemp={scratch}/0", *tests], [watching])
        failed = watching.failed or ([f"pytest ended with {code!r}"] if code not in (0, 5) else [])
        found = {"failed": failed, "tests": watching.tests, "imported": _libraries()}
        told.write_text(json.dumps(found))
        return 0

    os.waitpid(_fork(copy, scratch / "0.log", work), 0)
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
    scratch: Path,
) -> list[tuple[Change, bool]]:
    """Return each change, and whether a test noticed it.

    `runs` has the changes, and the tests of each with their seconds. A change that keeps its tests
    from ending is noticed.
    """
    source = (copies[0] / module).read_text()
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    for copy in copies:
        for compiled in (copy / module).parent.glob(f"__pycache__/{Path(module).stem}.*.pyc"):
            compiled.unlink()
    waiting, outcomes = list(reversed(runs)), []
    free = list(range(len(copies)))
    at_work: dict[int, tuple[int, Change, float]] = {}
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
            limit = 3 * sum(chosen.values()) + SPARE
            at_work[pid] = (slot, change, time.monotonic() + limit)
        ended = _ended(at_work)
        for pid, noticed in ended:
            slot, change, _ = at_work.pop(pid)
            free.append(slot)
            outcomes.append((change, noticed))
        if not ended:
            time.sleep(0.02)
    for copy in copies:
        (copy / module).write_text(source)
    del os.environ["PYTHONDONTWRITEBYTECODE"]
    return outcomes


def _ended(at_work: dict[int, tuple[int, Change, float]]) -> list[tuple[int, bool]]:
    """Return the processes that have ended, and whether they noticed something."""
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
            ended.append((pid, code not in unnoticed))
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
