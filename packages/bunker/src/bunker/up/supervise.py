"""Child processes that are started again when they fail, and end with their parent."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bunker.harness import START_TIMEOUT, STOP_TIMEOUT

# A child that fails so often within so many seconds will not get better by itself.
MAX_FAILURES: Final = 5
WINDOW: Final = 60.0
_FIRST_PAUSE: Final = 0.2  # seconds; doubled after each failure
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
    process: asyncio.subprocess.Process | None = None
    _reader: "asyncio.Task[None] | None" = None

    async def start(self) -> list[str]:
        """Return the lines up to the ready one, which is the last; raises ChildFailed."""
        self.process = await asyncio.create_subprocess_exec(
            *self.command,
            stdin=None if self.foreground else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **self.environment},
            # Ctrl-C reaches the foreground alone; the others are stopped after it, in order.
            start_new_session=not self.foreground,
            preexec_fn=_end_with_parent,
        )
        lines: list[str] = []
        try:
            if self.ready:
                async with asyncio.timeout(START_TIMEOUT):
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


class Supervisor:
    """Runs children until `stop`, and stops them in the opposite order of their start."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._stopped = asyncio.Event()
        self._children: list[Child] = []
        self._watchers: list[asyncio.Task[None]] = []

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
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for child in reversed(self._children):
            await child.stop()

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
                print(  # noqa: T201
                    f"the {child.name} ended with {code}; starting it again",
                    file=sys.stderr,
                    flush=True,
                )
                await asyncio.sleep(_FIRST_PAUSE * 2 ** (len(failures) - 1))
                with contextlib.suppress(ChildFailed, TimeoutError):
                    on_restart(child, await child.start())
                    break


def _pass(piece: bytes) -> None:
    """Pass on what a child said, as it is."""
    sys.stdout.flush()
    sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _end_with_parent() -> None:
    """Have the kernel stop this process when its parent dies, however it dies (Linux)."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
