"""The relays and signers of `bunker.harness`, forked from a process that has imported them.

Each is a process of its own, as when it is executed, without the 0.4 seconds of processor time that
its imports take. Tests whose subject is the program as a user starts it say `executed`.
"""

import asyncio
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import pytest

from bunker import harness
from support import commands

_executed: Final = harness.start


@contextmanager
def forked() -> Iterator[None]:
    """Have the harness fork what it starts, where the kernel has pidfd (Linux 5.3)."""
    with pytest.MonkeyPatch.context() as patch:
        if hasattr(os, "pidfd_open"):
            patch.setattr(harness, "start", _start)
        yield


@contextmanager
def executed() -> Iterator[None]:
    """Have the harness start the program, as it does for a user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness, "start", _executed)
        yield


class _Process:
    """A command that runs, to be used as an `asyncio.subprocess.Process` is."""

    def __init__(self, forked: commands.Forked, *output: asyncio.StreamReader) -> None:
        self.pid = forked.pid
        self.returncode: int | None = None
        self.stdin = None
        self.stdout, self.stderr = output
        self._ended = asyncio.create_task(self._watch(forked))

    async def _watch(self, forked: commands.Forked) -> int:
        self.returncode = await forked.ended()
        return self.returncode

    async def wait(self) -> int:
        """Return the exit code, negative after a signal."""
        return await asyncio.shield(self._ended)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):  # it has ended, and we are told in a moment
                os.kill(self.pid, number)


async def _start(arguments: Sequence[str], environment: Mapping[str, str]) -> Any:
    loop = asyncio.get_running_loop()
    readers, writers = [], []
    for _ in range(2):
        reading, writing = os.pipe()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(
            lambda reader=reader: asyncio.StreamReaderProtocol(reader),  # type: ignore[misc]
            os.fdopen(reading, "rb", 0),
        )
        readers.append(reader)
        writers.append(os.fdopen(writing, "wb", 0))
    nothing = os.fdopen(os.open(os.devnull, os.O_RDONLY))
    with nothing, writers[0], writers[1]:
        process = commands.Forked(arguments, environment, "bunker.cli:main", nothing, *writers)
    return _Process(process, *readers)
