"""Child processes that are started again when they fail, and end with their parent.

One loop without asyncio, whose modules alone would be half of what this process takes in memory; a
class without `dataclasses`, which bring Python's compiler with them.
"""

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import IO, Any, Final, Self

from bunker.up.life import Life
from bunker_core.local.process import START_TIMEOUT, STOP_TIMEOUT

# A child that fails so often within so many seconds will not get better by itself.
MAX_FAILURES: Final = 5
WINDOW: Final = 60.0
_FIRST_PAUSE: Final = 0.2  # seconds; doubled after each failure
_PIECE: Final = 4096  # bytes of output that are read at once
_PR_SET_PDEATHSIG: Final = 1

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class ChildFailed(Exception):
    """A child ended before it was ready, or too often. What it had to say is on standard error."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(name, code)
        self.name = name
        self.code = code

    def __str__(self) -> str:
        return f"the {self.name} ended {MAX_FAILURES} times in {WINDOW:.0f} s; giving up"


class Stopped(Exception):
    """`stop` was called while children were still starting."""


OnRestart = Callable[["Child", list[str]], None]


class Child:
    """One process. `ready` starts the line that says it is, one of several may; without one it is
    ready at once.

    With `foreground` it has the terminal: it stays in our process group, gets our standard input,
    and what it says after it is ready is passed on. `watchdog` is how many seconds without a sign
    of life (sd_notify) are too many; 0 is any.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        ready: str | tuple[str, ...] = "",
        foreground: bool = False,
        environment: Mapping[str, str] | None = None,
        watchdog: float = 0.0,
    ) -> None:
        self.name = name
        self.command = command
        self.ready = ready
        self.foreground = foreground
        self.environment = environment or {}
        self.watchdog = watchdog
        self.process: subprocess.Popen[bytes] | None = None  # None: it is to be started at `due`
        self.is_ready = False
        self.is_over = False  # seen to have ended; whoever else asks the process changes nothing
        self.lines: list[str] = []  # what it said until it was ready
        self.due = 0.0  # when its start is over time, or is to be; of the loop's clock
        self.life: Life | None = None
        self.on_restart: OnRestart | None = None  # set: it is started again whenever it ends
        self._rest = b""  # of a line that has not ended
        self._failures: list[float] = []

    def start(self) -> None:
        """Start the process; raises OSError."""
        environment = {**os.environ, **self.environment}
        if self.life is not None:
            self.life.begin()
            environment |= self.life.environment
        self.lines, self._rest = [], b""
        self.is_ready, self.is_over = not self.ready, False
        self.process = subprocess.Popen(  # noqa: S603 -- the command is our own
            self.command,
            bufsize=0,
            stdin=None if self.foreground else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=environment,
            # Ctrl-C reaches the foreground alone; the others are stopped after it, in order.
            start_new_session=not self.foreground,
            preexec_fn=_end_with_parent,
        )
        self.due = time.monotonic() + START_TIMEOUT

    def hear(self, piece: bytes) -> bool:
        """Take what the process said; return whether it is ready since."""
        if self.is_ready:
            if self.foreground:
                _pass(piece)
            return False
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for number, line in enumerate(lines, 1):
            self.lines.append(line.decode(errors="replace"))
            if self.lines[-1].startswith(self.ready):
                self.is_ready = True
                self.hear(b"\n".join([*lines[number:], self._rest]))
                return True
        return False

    @property
    def output(self) -> "IO[bytes] | None":
        """Where the process says it, as long as that is open."""
        output = self.process.stdout if self.process is not None else None
        return None if output is None or output.closed else output

    @property
    def code(self) -> int:
        """The exit code of a process that is over."""
        return -1 if self.process is None else self.process.returncode

    def failed(self, code: int, now: float) -> float:
        """Note an end; return the seconds until the next start. Raises ChildFailed."""
        self._failures = [at for at in self._failures if now - at < WINDOW] + [now]
        if len(self._failures) >= MAX_FAILURES:
            raise ChildFailed(self.name, code)
        _say(f"the {self.name} ended with {code}; starting it again")
        return _FIRST_PAUSE * (1 << (len(self._failures) - 1))


class Supervisor:
    """Runs children until `stop`, and stops them in the opposite order of their start.

    A context, of the main thread alone: the end of a process is heard of by a signal.
    """

    def __init__(self, folder: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` tells how far failures are apart.

        Children that are watched give their signs of life in `folder`, which is ours alone.
        """
        self._folder = folder
        self._clock = clock
        self._stopped = False
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        self._selector.register(self._woken, selectors.EVENT_READ, self._on_signal)
        self._before = (
            signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False),
            signal.signal(signal.SIGCHLD, _ignore),
        )
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the children."""
        for child in self._children:
            child.on_restart = None
        for child in reversed(self._children):
            self._end(child)
            if child.life is not None:
                self._selector.unregister(child.life.channel)
                child.life.close()
                child.life = None
        signal.set_wakeup_fd(self._before[0])
        signal.signal(signal.SIGCHLD, self._before[1] or signal.SIG_DFL)
        self._selector.close()
        os.close(self._woken)
        os.close(self._wake)

    def stop(self, *_: object) -> None:
        """End it all; good as a handler of signals."""
        self._stopped = True

    def start(self, child: Child) -> list[str]:
        """Start `child`; return what it said until it was ready.

        Raises ChildFailed, TimeoutError and Stopped.
        """
        return self.start_all(child)[0]

    def start_all(self, *children: Child) -> list[list[str]]:
        """Start children side by side; return what each said.

        Raises ChildFailed, of the first that ends, TimeoutError and Stopped.
        """
        for child in children:
            if child.watchdog:
                child.life = Life(f"{self._folder}/{child.name}", child.watchdog)
                self._selector.register(child.life.channel, selectors.EVENT_READ, child.life.hear)
            self._children.append(child)
            self._launch(child)
        while not all(child.is_ready for child in children):
            self.turn()
            if self._stopped:
                raise Stopped
            for child in children:
                if child.is_over and not child.is_ready:
                    raise ChildFailed(child.name, child.code)
                if not child.is_ready and time.monotonic() > child.due:
                    raise TimeoutError(f"the {child.name} was not ready in {START_TIMEOUT:.0f} s")
        return [child.lines for child in children]

    def watch(self, child: Child, on_restart: OnRestart = lambda *_: None) -> None:
        """Start `child` again whenever it ends from now on; tell `on_restart` what it said."""
        child.on_restart = on_restart
        if child.is_over:  # since it was ready
            self._start_again(child)

    def wait(self) -> None:
        """Return after `stop`; raises ChildFailed when a child can't be kept up."""
        while not self._stopped:
            self.turn()

    def pause(self, seconds: float) -> None:
        """Look after the children for a while; raises Stopped."""
        end = time.monotonic() + seconds
        while not self._stopped and (left := end - time.monotonic()) > 0:
            self.turn(left)
        if self._stopped:
            raise Stopped

    def turn(self, most: float | None = None) -> None:
        """Wait for what happens next, `most` seconds at most, and see to it."""
        now = time.monotonic()
        moments = [moment for child in self._children for moment in self._moments(child)]
        if most is not None:
            moments.append(now + most)
        wait = max(0.0, min(moments) - now) if moments else None
        for key, _ in self._selector.select(wait):
            key.data()
        for child in self._children:
            self._look_after(child, time.monotonic())

    def _moments(self, child: Child) -> list[float]:
        """Return when something is to be done for a child."""
        waits = child.process is None or not child.is_ready
        due = [child.due] if waits else []
        return due if child.life is None else [*due, child.life.due]

    def _look_after(self, child: Child, now: float) -> None:
        if child.on_restart is None:
            if child.life is not None:
                child.life.missed(now)
            return
        if child.process is None:
            if now >= child.due:
                self._launch(child)
                if child.is_ready:
                    child.on_restart(child, child.lines)
            return
        silent = child.life is not None and child.life.missed(now)
        if silent:
            _say(f"the {child.name} has given no sign of life for {child.watchdog:.0f} s")
        if silent or (not child.is_ready and now > child.due):
            child.due = now + STOP_TIMEOUT
            child.process.kill()  # its end is heard of as any

    def _launch(self, child: Child) -> None:
        child.start()
        if child.life is not None:
            child.life.on_extension = lambda: _extend(child)
        if child.output is None:
            raise AssertionError  # `start` has just made it
        self._selector.register(child.output, selectors.EVENT_READ, lambda: self._read(child))

    def _read(self, child: Child) -> None:
        """Read what a child says."""
        output = child.output
        if output is None:
            return
        piece = os.read(output.fileno(), _PIECE)
        if not piece:  # it has closed it, or ended: the signal tells
            self._close_output(child)
        elif child.hear(piece) and child.on_restart is not None:
            child.on_restart(child, child.lines)

    def _on_signal(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while os.read(self._woken, _PIECE):
                pass
        for child in self._children:
            process = child.process
            if process is not None and not child.is_over and process.poll() is not None:
                self._drain(child)
                child.is_over = True
                if child.on_restart is not None:
                    self._start_again(child)

    def _start_again(self, child: Child) -> None:
        """Note that a process has ended, and when the next one is to start."""
        child.due = time.monotonic() + child.failed(child.code, self._clock())
        child.process = None

    def _drain(self, child: Child) -> None:
        """Read what an ended process has left; a process of its own may still have the pipe."""
        if child.output is None:
            return
        os.set_blocking(child.output.fileno(), False)
        with contextlib.suppress(BlockingIOError):
            while child.output is not None:
                self._read(child)
        self._close_output(child)

    def _close_output(self, child: Child) -> None:
        output = child.output
        if output is not None:
            self._selector.unregister(output)
            output.close()

    def _end(self, child: Child) -> None:
        """End a process, gently and then not."""
        process = child.process
        if process is None:
            return
        if process.returncode is None:
            process.terminate()
            self._until_ended(process, STOP_TIMEOUT)
        if process.returncode is None:
            process.kill()
            process.wait()
        self._close_output(child)

    def _until_ended(self, process: "subprocess.Popen[bytes]", seconds: float) -> None:
        """Listen to all children until this one has ended, so that none waits for a reader."""
        end = time.monotonic() + seconds
        while process.poll() is None and (left := end - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                key.data()


def _extend(child: Child) -> None:
    """Give a child that asks for it the whole time to start once more (sd_notify(3))."""
    if not child.is_ready:
        child.due = time.monotonic() + START_TIMEOUT


def _ignore(_number: int, _frame: FrameType | None) -> Any:
    """Be there: without a handler the signal would wake nobody."""


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def _pass(piece: bytes) -> None:
    """Pass on what a child said, as it is; nobody may be there to read it any more."""
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def _end_with_parent() -> None:
    """Have the kernel stop this process when its parent dies, however it dies (Linux)."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
