"""Children are started again when they fail, and given up when that does not help."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bunker.up import supervise
from bunker.up.life import Life
from bunker.up.serve import _WATCHDOG
from bunker.up.supervise import MAX_FAILURES, Child, ChildFailed, Stopped, Supervisor
from support.modules import modules_after


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "_FIRST_PAUSE", 0.0)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    with Supervisor(str(tmp_path)) as found:
        yield found


def python(program: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", program, *arguments]


def test_child_that_always_fails_is_given_up(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """After five ends within a minute the supervisor stops trying and says which child it was."""
    log = tmp_path / "starts"
    child = Child("worker", ["sh", "-c", f"echo x >> {log}; exit 3"])
    with Supervisor(clock=lambda: 0.0) as supervisor:
        supervisor.start(child)
        supervisor.watch(child)
        with pytest.raises(ChildFailed, match="the worker ended 5 times") as caught:
            supervisor.wait()
    assert caught.value.code == 3
    assert log.read_text().count("x") == MAX_FAILURES
    assert "the worker ended with 3; starting it again" in capfd.readouterr().err


def test_failures_far_apart_do_not_add_up() -> None:
    """A child that fails once an hour is started again for ever."""
    hours = iter(range(0, 10**9, 3600))
    runs = 0

    def count(_child: Child, _lines: list[str]) -> None:
        nonlocal runs
        runs += 1
        if runs == 3 * MAX_FAILURES:
            patient.stop()

    child = Child("worker", ["false"])
    with Supervisor(clock=lambda: float(next(hours))) as patient:
        patient.start(child)
        patient.watch(child, count)
        patient.wait()
    assert runs >= 3 * MAX_FAILURES


NAMED = """
import signal, sys, pathlib
def end(*_):
    pathlib.Path(sys.argv[1]).open('a').write(sys.argv[2])
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print('ready', flush=True)
signal.pause()
"""


def test_children_are_stopped_the_last_first(tmp_path: Path) -> None:
    """What was started on top of something is stopped before it."""
    log = tmp_path / "ends"
    with Supervisor() as supervisor:
        for name in "abc":
            command = python(NAMED, str(log), name)
            assert supervisor.start(Child(name, command, ready="ready")) == ["ready"]
    assert log.read_text() == "cba"


def test_children_that_start_side_by_side_all_end_with_one_that_fails(tmp_path: Path) -> None:
    """None is left to itself; which one it was is told."""
    log = tmp_path / "ends"
    good = Child("good", python(NAMED, str(log), "g"), ready="ready")
    bad = Child("bad", ["sh", "-c", "exit 4"], ready="ready")
    with Supervisor() as supervisor:
        supervisor.start(good)
        with pytest.raises(ChildFailed) as caught:
            supervisor.start_all(Child("slow", ["sleep", "60"], ready="never"), bad)
    assert (caught.value.name, caught.value.code) == ("bad", 4)
    assert log.read_text() == "g"


def test_what_is_asked_to_stop_while_it_starts_does_not_wait(supervisor: Supervisor) -> None:
    """Ctrl-C works before all is there, and while a certificate is waited for."""
    child = Child("worker", ["sh", "-c", f"kill -USR1 {os.getpid()}; sleep 60"], ready="never")
    before = signal.signal(signal.SIGUSR1, supervisor.stop)
    try:
        with pytest.raises(Stopped):
            supervisor.start(child)
        with pytest.raises(Stopped):
            supervisor.pause(60)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_child_in_the_foreground_is_heard(
    supervisor: Supervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    """What it says from the line after the ready one on, to its last word; another's is dropped."""
    say = "printf 'one\\nready\\ntwo\\nthr'; printf ee"
    loud = Child("loud", ["sh", "-c", say], ready="ready", foreground=True)
    still = Child("still", ["sh", "-c", say], ready="ready")
    for child in (loud, still):
        assert supervisor.start(child) == ["one", "ready"]
    while not (loud.is_over and still.is_over):
        supervisor.turn()
    assert capfd.readouterr().out == "two\nthree"


def test_output_that_a_grandchild_keeps_open_hides_no_end(supervisor: Supervisor) -> None:
    """The end of a process is told by the system, not by the end of what it says."""
    child = Child("worker", ["sh", "-c", "sleep 60 & echo ready $!; exit 0"], ready="ready")
    pid = int(supervisor.start(child)[0].split()[1])
    try:
        while not child.is_over:
            supervisor.turn()
        assert child.code == 0
    finally:
        os.kill(pid, signal.SIGKILL)


def test_an_end_that_somebody_else_saw_first_is_seen(supervisor: Supervisor) -> None:
    """The phone's page sends the relay a signal, and asks the process for its end on the way."""
    again = []
    child = Child("worker", ["sleep", "60"])
    supervisor.start(child)
    supervisor.watch(child, lambda *_: again.append(1))
    process = child.process
    assert process is not None
    process.kill()
    process.wait()
    while not again:
        supervisor.turn()
    assert child.process is not process


def test_child_that_ends_before_it_is_ready_is_told(supervisor: Supervisor) -> None:
    """A start that fails is the caller's to know, with the exit code."""
    with pytest.raises(ChildFailed) as caught:
        supervisor.start(Child("worker", ["sh", "-c", "exit 4"], ready="ready"))
    assert caught.value.code == 4


def test_child_that_ends_before_it_is_watched_is_started_again(supervisor: Supervisor) -> None:
    """It was ready, and is over by the time that all the others are there."""
    child = Child("worker", ["sh", "-c", "echo ready; exit 5"], ready="ready")
    supervisor.start(child)
    while not child.is_over:
        supervisor.turn()
    supervisor.watch(child, lambda *_: supervisor.stop())
    supervisor.wait()


def test_a_start_has_its_time(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not ready then is told by name."""
    monkeypatch.setattr(supervise, "START_TIMEOUT", 0.0)
    with pytest.raises(TimeoutError, match="the worker was not ready"):
        supervisor.start(Child("worker", ["sleep", "60"], ready="never"))


def test_a_restart_that_is_never_ready_is_a_failure_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is killed when its time is over, and tried again; then given up."""
    mark = tmp_path / "mark"
    program = f"test -e {mark} || {{ touch {mark}; echo ready; exit 1; }}; exec sleep 60"
    child = Child("worker", ["sh", "-c", program], ready="ready")
    with Supervisor(clock=lambda: 0.0) as supervisor:
        supervisor.start(child)
        monkeypatch.setattr(supervise, "START_TIMEOUT", 0.0)
        supervisor.watch(child)
        with pytest.raises(ChildFailed):
            supervisor.wait()
        assert child.code == -signal.SIGKILL


LIVELY = """
import time
from bunker_core.local.systemd import notify, watchdog_interval
while True:
    notify("WATCHDOG=1")
    time.sleep(watchdog_interval())
"""


def test_a_child_that_hangs_is_killed_and_started_again(
    supervisor: Supervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    """Stopped by SIGSTOP it gives no sign of life, and does not end either."""
    child = Child("worker", python(LIVELY), watchdog=0.4)
    again = []
    supervisor.start(child)
    supervisor.watch(child, lambda *_: again.append(1))
    process, life = child.process, child.life
    assert process is not None
    assert life is not None
    while life.heard is None:
        supervisor.turn()
    os.kill(process.pid, signal.SIGSTOP)
    while not again:
        supervisor.turn()
    assert child.process is not process
    while life.heard is None:
        supervisor.turn()
    assert "the worker has given no sign of life for 0 s" in capfd.readouterr().err


def _tell(life: Life, word: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(word.encode(), life.environment["NOTIFY_SOCKET"])
    life.hear()


def test_only_who_has_begun_to_give_signs_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nobody while it was we who slept; after a new start all begins anew."""
    now = 1000.0
    monkeypatch.setattr("bunker.up.life.time.monotonic", lambda: now)
    life = Life(str(tmp_path / "life"), 4.0)

    def missed_by(seconds: float) -> bool:
        """Ask each second, as the supervisor does."""
        nonlocal now
        found = False
        for _ in range(int(seconds)):
            now += 1.0
            found = life.missed(now) or found
        return found

    try:
        assert not missed_by(100)
        _tell(life, "WATCHDOG=1")
        assert not missed_by(4)
        _tell(life, "WATCHDOG=1")
        assert missed_by(5)
        assert not missed_by(100)  # once
        _tell(life, "WATCHDOG=1")
        now += 60.0  # asleep
        assert not life.missed(now)
        assert missed_by(5)
        _tell(life, "WATCHDOG=1")
        life.begin()
        assert not missed_by(100)
    finally:
        life.close()
    assert not list(tmp_path.iterdir())


def test_a_child_that_hangs_is_missed_within_ten_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relay and signer, by the supervisor's clock, wherever between two of its looks they stop."""
    now = 1000.0
    monkeypatch.setattr("bunker.up.life.time.monotonic", lambda: now)
    for tenths in range(20):
        life = Life(str(tmp_path / "life"), _WATCHDOG)
        try:
            now = life.due
            assert not life.missed(now)
            now += tenths / 10
            _tell(life, "WATCHDOG=1")
            hung = now
            while not life.missed(now):
                now = max(now, life.due)
            assert now - hung <= 10
        finally:
            life.close()


EXTENDING = """
import sys
from bunker_core.local.systemd import notify
notify("EXTEND_TIMEOUT_USEC=30000000")
open(sys.argv[1]).read()
print("ready", flush=True)
"""


def test_a_child_that_asks_for_time_to_start_gets_it(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As a relay does that brings a large database up to date: its time begins anew."""
    fifo = tmp_path / "go on"
    os.mkfifo(fifo)
    child = Child("worker", python(EXTENDING, str(fifo)), ready="ready", watchdog=5)
    given: list[float] = []  # when its time to start was to be over
    start, turn = Child.start, supervisor.turn

    def note(child: Child) -> None:
        start(child)
        given.append(child.due)

    def look(most: float | None = None) -> None:
        turn(most)
        if len(given) == 1 and child.due != given[0]:
            given.append(child.due)
            fifo.write_text("")

    monkeypatch.setattr(Child, "start", note)
    monkeypatch.setattr(supervisor, "turn", look)
    assert supervisor.start(child) == ["ready"]
    assert given[0] < given[1]


def test_its_end_is_the_end_of_its_children() -> None:
    """Killed without a word the supervisor leaves nobody behind (Linux)."""
    if sys.platform != "linux":
        pytest.skip("the kernel tells a child of its parent's end on Linux alone")
    program = (
        "from bunker.up.supervise import Child, Supervisor\n"
        "with Supervisor() as supervisor:\n"
        "    child = Child('worker', ['sleep', '60'])\n"
        "    supervisor.start(child)\n"
        "    print(child.process.pid, flush=True)\n"
        "    supervisor.wait()\n"
    )
    with subprocess.Popen(python(program), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = os.pidfd_open(int(process.stdout.readline()))
        process.kill()
    try:
        assert select.select([child], [], [], 30)[0]
    finally:
        os.close(child)


def test_what_only_watches_holds_little_in_memory() -> None:
    """A usual `bunker up` needs neither asyncio nor TLS, and nothing of relay and signer.

    `dataclasses` would bring `inspect` and `ast`, `pathlib` brings `urllib`: a megabyte each.
    """
    loaded = {name.partition(".")[0] for name in modules_after("import bunker.up.serve")}
    assert "selectors" in loaded
    assert not loaded & {"asyncio", "ssl", "logging", "click", "bunker_relay", "bunker_signer"}
    assert not loaded & {"dataclasses", "inspect", "ast", "pathlib", "urllib", "tempfile", "shutil"}
