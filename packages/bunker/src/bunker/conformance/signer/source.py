"""Where a signer comes from: URIs that its owner gives, or a command that the kit runs."""

import asyncio
import json
import re
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from bunker.conformance.case import Failed, NotRun, Silence
from bunker.conformance.process import Program, started

_START: Final = 30.0  # seconds until a signer has to print its URI
_URI: Final = re.compile(r"bunker://[^\s\"'<>]+")


class Running(Protocol):
    """A signer that runs."""

    async def uri(self) -> str:
        """Return a bunker:// URI that nobody has used; raises NotRun when there is none left."""
        ...

    async def end(self) -> None:
        """End the signer, if it is the kit's."""
        ...


class Source(Protocol):
    """Makes signers."""

    @property
    def several_relays(self) -> bool:
        """Whether the kit can say on which relays."""
        ...

    async def start(self, relays: Sequence[str]) -> Running:
        """Start a signer on `relays`; raises NotRun, Failed or Silence."""
        ...

    async def accept(self, relays: Sequence[str], invitation: str) -> Running:
        """Start a signer that takes a nostrconnect:// URI; raises NotRun, Failed or Silence."""
        ...


@dataclass(slots=True)
class Owned:
    """A signer that runs already, on relays of its own; each URI pairs one client."""

    uris: list[str]
    several_relays: bool = False

    async def uri(self) -> str:
        """Return the next URI."""
        if not self.uris:
            raise NotRun("needs a bunker:// URI that is unused: give another one")
        return self.uris.pop(0)

    async def end(self) -> None:
        """Leave it running."""

    async def start(self, relays: Sequence[str]) -> Running:  # noqa: ARG002 -- the protocol's
        """Say that the kit can't."""
        raise NotRun("the signer was not started by the kit: give its command after --")

    async def accept(self, relays: Sequence[str], invitation: str) -> Running:  # noqa: ARG002
        """Say that the kit can't."""
        raise NotRun("the signer was not started by the kit: give a command by --accept")


@dataclass(slots=True)
class Commanded:
    """A signer that `command` starts. In its words {relay}, {dir} and {uri} are filled in.

    A word with {relay} is repeated for every relay, {first} is the first one where a signer takes
    no more; {dir} is an empty directory of its own. It prints its bunker:// URI when it listens,
    in whatever line.
    """

    command: tuple[str, ...]
    accepting: tuple[str, ...] = ()

    @property
    def several_relays(self) -> bool:
        """Whether the command says where relays go."""
        return any("{relay}" in word for word in self.command)

    async def start(self, relays: Sequence[str]) -> Running:
        """Run the command and wait for its URI."""
        return await _run(self.command, relays, "")

    async def accept(self, relays: Sequence[str], invitation: str) -> Running:
        """Run the other command, which gets the invitation."""
        if not self.accepting:
            raise NotRun("how the signer takes a nostrconnect:// URI is not given: --accept")
        return await _run(self.accepting, relays, invitation)


@dataclass(slots=True)
class _Process:
    program: Program
    directory: "tempfile.TemporaryDirectory[str]" = field(repr=False)
    unused: list[str] = field(default_factory=list)

    async def uri(self) -> str:
        if not self.unused:
            raise NotRun("prints one URI a start")
        return self.unused.pop()

    async def end(self) -> None:
        await self.program.end()
        await asyncio.to_thread(self.directory.cleanup)


async def _run(command: Sequence[str], relays: Sequence[str], invitation: str) -> Running:
    directory = tempfile.TemporaryDirectory(prefix="conformance-", ignore_cleanup_errors=True)
    words = [
        _filled(word, relay=relay, first=relays[0], dir=directory.name, uri=invitation)
        for word in command
        for relay in (relays if "{relay}" in word else relays[:1])
    ]
    running = _Process(await started(words, {"BUNKER_RELAYS": " ".join(relays)}), directory)
    if invitation:
        return running
    try:
        async with asyncio.timeout(_START):
            while not running.unused:
                line = await running.program.lines.get()
                if line is None:
                    said = " / ".join(list(running.program.last)[-3:]) or "not a word"
                    raise Failed(f"`{shlex.join(words)}` ended before it printed a URI: {said}")
                running.unused += _uris(line)[:1]
    except TimeoutError:
        await running.end()
        raise Silence(f"bunker:// URI from `{shlex.join(words)}`", _START) from None
    except Failed:
        await running.end()
        raise
    return running


def _uris(line: str) -> list[str]:
    """Return the URIs in a line of text, or in the values of an object of JSON."""
    try:
        value = json.loads(line)
    except ValueError:
        value = None
    texts = map(str, value.values()) if isinstance(value, dict) else (line,)
    return [uri for text in texts for uri in _URI.findall(text)]


def _filled(word: str, **values: str) -> str:
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", value)
    return word
