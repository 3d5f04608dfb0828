"""Children are started again when they fail, and given up when that does not help."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from bunker.up import supervise
from bunker.up.supervise import MAX_FAILURES, Child, ChildFailed, Supervisor


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "_FIRST_PAUSE", 0.0)


async def test_child_that_always_fails_is_given_up(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """After five ends within a minute the supervisor stops trying and says which child it was."""
    log = tmp_path / "starts"
    child = Child("worker", ["sh", "-c", f"echo x >> {log}; exit 3"])
    supervisor = Supervisor(clock=lambda: 0.0)
    await supervisor.start(child)
    supervisor.watch(child)
    async with asyncio.timeout(20):
        with pytest.raises(ChildFailed, match="the worker ended 5 times") as caught:
            await supervisor.wait()
    await supervisor.close()
    assert caught.value.code == 3
    assert log.read_text().count("x") == MAX_FAILURES
    assert "the worker ended with 3; starting it again" in capfd.readouterr().err


async def test_failures_far_apart_do_not_add_up(tmp_path: Path) -> None:
    """A child that fails once an hour is started again for ever."""
    hours = iter(range(0, 10**9, 3600))
    runs = 0

    def count(_child: Child, _lines: list[str]) -> None:
        nonlocal runs
        runs += 1
        if runs == 3 * MAX_FAILURES:
            supervisor.stop()

    supervisor = Supervisor(clock=lambda: float(next(hours)))
    child = Child("worker", ["false"])
    await supervisor.start(child)
    supervisor.watch(child, count)
    async with asyncio.timeout(30):
        await supervisor.wait()
    await supervisor.close()
    assert runs >= 3 * MAX_FAILURES


async def test_children_are_stopped_the_last_first(tmp_path: Path) -> None:
    """What was started on top of something is stopped before it."""
    log = tmp_path / "ends"
    program = (
        "import signal, sys, pathlib\n"
        "def end(*_):\n"
        f"    pathlib.Path({str(log)!r}).open('a').write(sys.argv[1])\n"
        "    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('ready', flush=True)\n"
        "signal.pause()\n"
    )
    supervisor = Supervisor()
    for name in "abc":
        command = [sys.executable, "-c", program, name]
        assert await supervisor.start(Child(name, command, ready="ready")) == ["ready"]
    await supervisor.close()
    assert log.read_text() == "cba"


async def test_child_that_ends_before_it_is_ready_is_told(tmp_path: Path) -> None:
    """A start that fails is the caller's to know, with the exit code."""
    with pytest.raises(ChildFailed) as caught:
        await Supervisor().start(Child("worker", ["sh", "-c", "exit 4"], ready="ready"))
    assert caught.value.code == 4


LIVELY = """
import time
from bunker_core.local.systemd import notify, watchdog_interval
while True:
    notify("WATCHDOG=1")
    time.sleep(watchdog_interval())
"""


async def test_a_child_that_hangs_is_killed_and_started_again(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Stopped by SIGSTOP it gives no sign of life, and does not end either."""
    supervisor = Supervisor()
    child = Child("worker", [sys.executable, "-c", LIVELY], watchdog=0.4)
    again = asyncio.Event()
    await supervisor.start(child)
    supervisor.watch(child, lambda *_: again.set())
    async with asyncio.timeout(30):
        assert child.process is not None
        first = child.process.pid
        await child.heard()
        os.kill(first, signal.SIGSTOP)
        await again.wait()
        assert child.process.pid != first
        await child.heard()
    await supervisor.close()
    assert "the worker has given no sign of life for 0 s" in capfd.readouterr().err


async def test_a_child_that_never_says_anything_is_left_alone() -> None:
    """Only who has begun to give signs of life is missed."""
    supervisor = Supervisor()
    child = Child("worker", ["sleep", "1"], watchdog=0.1)
    ended = asyncio.Event()
    await supervisor.start(child)
    supervisor.watch(child, lambda *_: ended.set())
    async with asyncio.timeout(30):
        assert child.process is not None
        assert await child.process.wait() == 0
    await supervisor.close()


SLOW = """
import time
from bunker_core.local.systemd import notify
for _ in range(6):
    time.sleep(0.2)
    notify("EXTEND_TIMEOUT_USEC=30000000")
print("ready", flush=True)
time.sleep(60)
"""


async def test_a_child_that_asks_for_time_to_start_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a relay does that brings a large database up to date."""
    monkeypatch.setattr(supervise, "START_TIMEOUT", 1.0)
    child = Child("worker", [sys.executable, "-c", SLOW], ready="ready", watchdog=5)
    assert await child.start() == ["ready"]
    await child.stop()
    child.forget()
    silent = Child("worker", ["sleep", "9"], ready="ready", watchdog=5)
    with pytest.raises(TimeoutError):
        await silent.start()
    silent.forget()
