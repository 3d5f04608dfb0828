"""Data of earlier releases is taken up by this one.

Each release adds a folder to fixtures/, by fixtures/write.py, and its digest below. What lies there
was written by that release and stays as it is: a change of the databases gets a migration, not
another fixture.
"""

import hashlib
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bunker.cli import main
from bunker.harness import RunningRelay, RunningSigner, running_relay, running_signer
from bunker.installation import Installation
from bunker_client import RemoteSigner, Sessions
from bunker_client.errors import ClientError, RequestDenied
from bunker_core.event import Event, parse_event
from bunker_core.filter import Filter
from bunker_core.pool import RelayPool

FIXTURES = Path(__file__).parent / "fixtures"
DIGESTS = {"0.1.0": "858eed573e872f2195a2db03c601d88559d2f949b420da06f21f7aa576e47e45"}


@dataclass(frozen=True, slots=True)
class Upgraded:
    """This release on the data of another; `left` is what that one says it left."""

    relay: RunningRelay
    signer: RunningSigner
    data: Path
    left: dict[str, Any]

    @asynccontextmanager
    async def app(self, name: str) -> AsyncIterator[RemoteSigner]:
        """Come back as an app that had paired, by the session that it kept."""
        session = Sessions(self.data / "sessions").load(name.replace(" ", "-"))
        here = replace(session, relays=(self.relay.url,))
        async with RemoteSigner.from_session(here, timeout=10) as app:
            yield app

    async def stored(self, query: Filter) -> list[Event]:
        """Return what the relay has, of what matches."""
        async with RelayPool([self.relay.url]) as pool:
            subscription = pool.subscribe(query)
            await subscription.live(10)
            subscription.close()
            return [received.event async for received in subscription]

    def bunker(self, *arguments: str) -> str:
        """Return what a command says about the signer."""
        result = CliRunner().invoke(main, [*arguments, "--data", str(self.data / "signer")])
        assert result.exit_code == 0, result.output
        return result.output


def load(release: str, data: Path, part: str, address: str = "") -> dict[str, Any]:
    """Put what a release left for `part` where it was; its relay's address becomes `address`."""
    folder = FIXTURES / release
    left: dict[str, Any] = json.loads((folder / "left.json").read_text())
    for inside, content in json.loads((folder / "files.json").read_text()).items():
        if inside.startswith(part):
            path = data / inside
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            kept = content["text"].encode() if "text" in content else bytes.fromhex(content["hex"])
            path.write_bytes(kept)
            path.chmod(0o600)
    dump = folder / f"{part}.sql"
    if dump.exists():
        with closing(sqlite3.connect(data / part / f"{part}.sqlite3")) as database:
            database.executescript(dump.read_text().replace(left["relay"], address))
    return left


@pytest.fixture(params=sorted(DIGESTS))
async def upgraded(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Upgraded]:
    left = load(request.param, tmp_path, "relay")
    load(request.param, tmp_path, "sessions")
    async with running_relay(tmp_path / "relay") as relay:
        load(request.param, tmp_path, "signer", relay.url)
        async with running_signer(tmp_path / "signer", [relay.url]) as signer:
            yield Upgraded(relay, signer, tmp_path, left)


def test_what_a_release_left_stays_as_it_was() -> None:
    """Every fixture is the one that its release wrote, to the byte."""
    found = {}
    for folder in FIXTURES.iterdir():
        if folder.is_dir() and folder.name != "__pycache__":
            digest = hashlib.sha256()
            for path in sorted(folder.iterdir()):
                digest.update(path.name.encode() + b"\0" + path.read_bytes())
            found[folder.name] = digest.hexdigest()
    assert found == DIGESTS


async def test_data_of_a_release_is_taken_up(upgraded: Upgraded) -> None:
    """Key, sessions, grants with their rest, log and events are there, and what was out stays out.

    One test, since one start of relay and signer shows all of it.
    """
    left = upgraded.left
    whole, counted, revoked = left["sessions"]
    assert Installation(upgraded.data).user_pubkey() == left["user"]

    async with upgraded.app(whole) as app:
        assert (await app.request_signature({"kind": 1})).pubkey == left["user"]
        with pytest.raises(RequestDenied):
            await app.request_signature({"kind": 0})
    async with upgraded.app(counted) as app:
        assert await app.nip44_encrypt(left["user"], "within the rate")
        for _ in range(2):  # of three uses one was spent
            assert (await app.request_signature({"kind": 7, "content": "+"})).kind == 7
        for kind in (7, 4):
            with pytest.raises(RequestDenied):
                await app.request_signature({"kind": kind})
    with pytest.raises(ClientError):
        async with upgraded.app(revoked) as app:
            await app.request_signature({"kind": 1})

    clients = upgraded.bunker("signer", "clients")
    assert whole in clients
    assert counted in clients
    assert revoked not in clients
    assert left["signed"] in upgraded.bunker("signer", "audit", "--json")
    upgraded.bunker("signer", "audit", "verify")

    author = frozenset({left["author"]})
    ids = {event.id for event in await upgraded.stored(Filter(authors=author))}
    assert ids == {left[name] for name in ("note", "profile", "deletion", "lasting")}
    tagged = await upgraded.stored(Filter(tags=(("t", frozenset({"upgrade"})),)))
    assert [event.content for event in tagged] == ["written before"]
    async with RelayPool([upgraded.relay.url]) as pool:
        for name in ("deleted", "spam"):  # of a deletion, and of a banned author
            publication = pool.publish(parse_event(json.loads(left[name])))
            assert await publication.delivered(10) is None, name
