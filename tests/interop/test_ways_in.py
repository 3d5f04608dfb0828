"""Every library's ways in: both kinds of URI, by one relay, and by two of which one is down.

One process a library, that of the conformance kit. It makes four clients, each of which pairs, has
a note signed and another kind refused; of two relays the first is the one that is down.
"""

import asyncio
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from bunker.harness import running_relay, running_signer
from bunker_core.event import parse_event, verify
from bunker_core.nips.nip19 import parse_pubkey
from bunker_signer.control.protocol import send
from bunker_signer.policy import Grant
from interop.driven import LIBRARIES, Driven, LibraryError, driven
from interop.peers import NOT_OFFERED, Row, library_version, node, python
from interop.tables.conformance import built_client
from support.require import need

WAYS: Final = ("bunker://", "nostrconnect://", "bunker, 1 of 2", "nostrcon, 1 of 2")
PATIENCE: Final = 30.0  # seconds for what takes one or two
TRIES: Final = 3

# What a library can't do, as it was seen, and why; it is not tried again.
_FIRST_ALONE: Final = "no: takes the first relay alone"
_ALL_OF_THEM: Final = "no: waits for all relays, for ever"
_WRONG_USER: Final = "no: takes the signer's key for the user's"
LACKS: Final[dict[str, dict[str, str]]] = {
    "NDK": dict.fromkeys(WAYS[2:], _ALL_OF_THEM),
    "NDK 2": {WAYS[1]: _WRONG_USER, **dict.fromkeys(WAYS[2:], _ALL_OF_THEM)},
    "Snort": dict.fromkeys(WAYS[2:], _FIRST_ALONE),
    **{
        library: dict.fromkeys((WAYS[1], WAYS[3]), "no: makes no invitations")
        for library in ("go-nostr", "nostrify", "snstr")
    },
}


@dataclass(frozen=True, slots=True)
class World:
    """A signer's directory, its user, and its relays."""

    data: Path
    user: str
    relays: tuple[str, ...]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """Let all libraries try all ways at the same time."""
    commands = {library: command(library) for library in LIBRARIES}
    return asyncio.run(_play(tmp_path_factory.mktemp("ways"), commands))


def command(library: str) -> tuple[str, ...]:
    """Return the program that the conformance kit drives the library by."""
    if library in ("nostr_sdk", "our client"):
        return (*python("conformance_client.py"), library.replace("our client", "ours"))
    tool = {"go-nostr": "go", "rust-nostr 0.44": "cargo"}.get(library)
    if tool is None:
        return (*node("conformance/client.mjs"), library)
    try:
        program = built_client(tool)
    except subprocess.CalledProcessError:
        program = None  # its packages can't be had
    need(program, f"{tool}, to build tests/interop's clients")
    return (str(program),)


async def _play(directory: Path, commands: dict[str, tuple[str, ...]]) -> dict[str, Row]:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port
        dead = f"ws://127.0.0.1:{unused.getsockname()[1]}"
        async with (
            running_relay(directory / "relay") as relay,
            _signer(directory / "one", relay.url) as one,
            _signer(directory / "two", dead, relay.url) as two,
        ):
            worlds = dict(zip(WAYS, (one, one, two, two), strict=True))
            rows = await asyncio.gather(
                *(_tries(library, program, worlds) for library, program in commands.items())
            )
            return dict(zip(commands, rows, strict=True))


@asynccontextmanager
async def _signer(data: Path, *relays: str) -> AsyncIterator[World]:
    async with running_signer(data, relays) as running:
        yield World(data, parse_pubkey(running.npub), relays)


async def _tries(library: str, program: tuple[str, ...], worlds: dict[str, World]) -> Row:
    row = Row(f"{library_version(library)}, ways in", operations=WAYS)
    lacks = LACKS.get(library, {})
    row.notes += [
        f"{' and '.join(k for k in lacks if lacks[k] == why)}: {why}"
        for why in dict.fromkeys(lacks.values())
    ]
    async with driven(library, program) as client:
        for way, world in worlds.items():
            if way in lacks:
                row.outcomes[way] = NOT_OFFERED
            else:
                await row.attempt(way, lambda: _several(client, way, world))  # noqa: B023
    return row


async def _several(client: Driven, way: str, world: World) -> None:
    """Try a way; go-nostr asks before it listens, and so may miss an answer."""
    left = TRIES if client.library == "go-nostr" else 1
    while True:
        left -= 1
        try:
            async with asyncio.timeout(PATIENCE / TRIES if left else PATIENCE):
                return await _one(client, f"{way} {left}", way, world)
        except (TimeoutError, LibraryError):
            if not left:
                raise


async def _one(client: Driven, name: str, way: str, world: World) -> None:
    """Pair as `name`, sign, and be refused."""
    grants = [Grant("sign_event", "1").to_json()]
    if way.startswith("bunker"):
        uri = await _control(world, "invite", grants=grants)
        told = await client.tell(client=name, do="connect", uri=uri)
    else:
        invited = await client.tell(client=name, do="invite", relays=world.relays)
        await _control(world, "accept", uri=invited["uri"], grants=grants)
        told = await client.tell(client=name, do="paired")
    assert told["user"] == world.user
    note: dict[str, Any] = {
        "kind": 1,
        "content": f"{client.library}, {way}",
        "tags": [],
        "created_at": int(time.time()),
    }
    event = verify(parse_event(await client.tell(client=name, do="sign", event=note)))
    assert (event.pubkey, event.content) == (world.user, note["content"])
    with pytest.raises(LibraryError, match="denied"):
        await client.tell(client=name, do="sign", event={**note, "kind": 7})


async def _control(world: World, what: str, **said: Any) -> Any:
    return await asyncio.to_thread(send, world.data, what, key="default", **said)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_comes_in(library: str, rows: dict[str, Row], row: Row) -> None:
    """It pairs, signs and hears a refusal, whichever side begins."""
    told = rows[library]
    row.name, row.operations, row.outcomes = told.name, told.operations, told.outcomes
    row.notes = told.notes
    row.expect(not_offered=tuple(LACKS.get(library, ())))
