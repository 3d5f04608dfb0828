"""Child processes that are started again when they fail, and end with their parent."""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bunker.harness import START_TIMEOUT, STOP_TIMEOUT

# A child that fails so often within so many seconds will not get better by itself.
MAX_FAILURES: Final = 5
WINDOW: Final = 60.0
_FIRST_PAUSE: Final = 0.2  # seconds; doubled after each failure
_EXTENSION: Final = b"EXTEND_TIMEOUT_USEC="  # sd_notify(3)
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


@dataclass(slots=True)
class Child:
    """One process. `ready` starts the line that says it is, one of several may; without one it is
    ready at once.

    With `foreground` it has the terminal: it stays in our process group, gets our standard input,
    and what it says after it is ready is passed on.
    """

    name: str
    command: Sequence[str]
    ready: str | tuple[str, ...] = ""
    foreground: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    watchdog: float = 0.0  # seconds without a sign of life (sd_notify) that are too many; 0: any
    process: asyncio.subprocess.Process | None = None
    _reader: "asyncio.Task[None] | None" = None
    _life: "_Life | None" = None

    async def start(self) -> list[str]:
        """Return the lines up to the ready one, which is the last; raises ChildFailed."""
        environment = {**os.environ, **self.environment}
        if self.watchdog:
            if self._life is None:
                self._life = await _Life.listen(self.watchdog)
            self._life.begin()
            environment |= self._life.environment
        self.process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=None if self.foreground else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
            # Ctrl-C reaches the foreground alone; the others are stopped after it, in order.
            start_new_session=not self.foreground,
            preexec_fn=_end_with_parent,
        )
        lines: list[str] = []
        try:
            if self.ready:
                async with asyncio.timeout(START_TIMEOUT) as limit:
                    if self._life is not None:
                        self._life.limit = limit
                    await self._read_until_ready(lines)
        except BaseException:
            await self.stop()
            raise
        self._reader = asyncio.create_task(self._pass_on())
        return lines

    async def stop(self) -> int:
        """End the process, gently and then not; return its exit code."""
        if self.process is None:
            return 0
        if self.process.returncode is None:
            self.process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                code = await self.process.wait()
        except TimeoutError:
            self.process.kill()
            code = await self.process.wait()
        if self._reader is not None:
            await self._reader
        return code

    async def watch(self) -> None:
        """Kill the process when it gives no sign of life, each time; for as long as it is asked."""
        while self._life is not None:
            await self._life.missed()
            if self.process is not None and self.process.returncode is None:
                _say(f"the {self.name} has given no sign of life for {self.watchdog:.0f} s")
                self.process.kill()
            self._life.begin()

    async def heard(self) -> None:
        """Return when the process has given a sign of life."""
        if self._life is not None:
            await self._life.said.wait()

    def forget(self) -> None:
        """Listen for no signs of life any more."""
        if self._life is not None:
            self._life.close()
            self._life = None

    async def _read_until_ready(self, lines: list[str]) -> None:
        if self.process is None or self.process.stdout is None:
            raise AssertionError  # `start` has just made it
        async for raw in self.process.stdout:
            lines.append(raw.decode().rstrip("\n"))
            if lines[-1].startswith(self.ready):
                return
        raise ChildFailed(self.name, await self.process.wait())

    async def _pass_on(self) -> None:
        if self.process is None or self.process.stdout is None:
            return
        while piece := await self.process.stdout.read(4096):
            if self.foreground:
                _pass(piece)


class _Life(asyncio.DatagramProtocol):
    """Where a process tells that it lives, as systemd has it: a datagram to a socket."""

    def __init__(self, seconds: float, folder: "tempfile.TemporaryDirectory[str]") -> None:
        self.heard: float | None = None  # the loop's time; None before the first word
        self.said = asyncio.Event()
        self.limit: asyncio.Timeout | None = None  # on the start of the process
        self.environment = {
            "NOTIFY_SOCKET": f"{folder.name}/notify",
            "WATCHDOG_USEC": str(int(seconds * 1e6)),
        }
        self._seconds = seconds
        self._folder = folder
        self._transport: asyncio.BaseTransport | None = None

    @classmethod
    async def listen(cls, seconds: float) -> "_Life":
        """Listen in a directory that is ours alone."""
        life = cls(seconds, tempfile.TemporaryDirectory(prefix="bunker-"))
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        channel.bind(life.environment["NOTIFY_SOCKET"])
        loop = asyncio.get_running_loop()
        life._transport, _ = await loop.create_datagram_endpoint(lambda: life, sock=channel)
        return life

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002
        """Note a sign of life; or, while the process starts, that it needs more time."""
        now = asyncio.get_running_loop().time()
        if _EXTENSION in data:
            if self.limit is not None:
                with contextlib.suppress(RuntimeError):  # it has started, or was too late
                    self.limit.reschedule(now + START_TIMEOUT)
            return
        self.heard = now
        self.said.set()

    def begin(self) -> None:
        """Listen to a new process, which has said nothing."""
        self.heard = None
        self.said.clear()

    async def missed(self) -> None:
        """Return when nothing was heard for too long."""
        loop, pause = asyncio.get_running_loop(), self._seconds / 4
        while self.heard is None or loop.time() - self.heard <= self._seconds:
            before = loop.time()
            await asyncio.sleep(pause)
            if self.heard is not None and loop.time() - before > 2 * pause:
                self.heard = loop.time()  # it was we who slept

    def close(self) -> None:
        """Listen no more."""
        if self._transport is not None:
            self._transport.close()
        self._folder.cleanup()


class Supervisor:
    """Runs children until `stop`, and stops them in the opposite order of their start."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stopped = asyncio.Event()
        self._children: list[Child] = []
        self._watchers: list[asyncio.Task[None]] = []
        self._watchdogs: list[asyncio.Task[None]] = []

    def stop(self) -> None:
        """End it all."""
        self._stopped.set()

    async def start(self, child: Child) -> list[str]:
        """Start `child`; return what it said until it was ready. Raises ChildFailed."""
        lines = await child.start()
        self._children.append(child)
        return lines

    async def start_all(self, *children: Child) -> list[list[str]]:
        """Start children side by side; return what each said. Raises ChildFailed, of the first."""
        self._children.extend(children)
        tasks = [asyncio.create_task(child.start()) for child in children]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:  # none is left to itself when another fails
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def watch(
        self, child: Child, on_restart: Callable[[Child, list[str]], None] = lambda *_: None
    ) -> None:
        """Start `child` again whenever it ends from now on; tell `on_restart` what it said."""
        self._watchers.append(asyncio.create_task(self._keep(child, on_restart)))
        if child.watchdog:
            self._watchdogs.append(asyncio.create_task(child.watch()))

    async def wait(self) -> None:
        """Return after `stop`; raises ChildFailed when a child can't be kept up."""
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            tasks: Iterable[asyncio.Task[object]] = [stopped, *self._watchers]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            stopped.cancel()

    async def close(self) -> None:
        """Stop watching, then stop the children."""
        watchers = [*self._watchers, *self._watchdogs]
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)
        for child in reversed(self._children):
            await child.stop()
            child.forget()

    async def _keep(self, child: Child, on_restart: Callable[[Child, list[str]], None]) -> None:
        failures: list[float] = []
        while child.process is not None:
            code = await child.process.wait()
            await child.stop()
            while True:
                now = self._clock()
                failures = [at for at in failures if now - at < WINDOW] + [now]
                if len(failures) >= MAX_FAILURES:
                    raise ChildFailed(child.name, code)
                _say(f"the {child.name} ended with {code}; starting it again")
                await asyncio.sleep(_FIRST_PAUSE * 2 ** (len(failures) - 1))
                with contextlib.suppress(ChildFailed, TimeoutError):
                    on_restart(child, await child.start())
                    break


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def _pass(piece: bytes) -> None:
    """Pass on what a child said, as it is."""
    sys.stdout.flush()
    sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _end_with_parent() -> None:
    """Have the kernel stop this process when its parent dies, however it dies (Linux)."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
