"""What the signer remembers of its owner, and that it is bounded."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bunker_core.event import Event, EventTemplate
from bunker_core.nips.nip46 import ClientMetadata, Method
from bunker_signer.approvers.known import (
    FILE_NAME,
    MAX_BYTES,
    MAX_HOSTS,
    NOTE_LENGTH,
    KnownOwner,
)
from bunker_signer.policy import Action
from bunker_signer.request.approval import Item, Question
from bunker_signer.store import Database, clients
from signer.request.support.rig import database_in

CLIENT = "aa" * 32
PEER = "bb" * 32


def signed(kind: int, content: str = "", *tags: tuple[str, ...], at: int = 1000) -> Event:
    # Nothing here looks at signatures, and 1,000 of them take a second.
    return Event(f"{abs(hash((kind, content, tags, at))):064x}"[:64], CLIENT, at, kind, tags,
                 content, "0" * 128)  # fmt: skip


def question(kind: int, *tags: tuple[str, ...], name: str = "Notes") -> Question:
    item = Item(Action(Method.SIGN_EVENT, kind=kind), "d", EventTemplate(kind, "", tags, 1000))
    return Question("1", "default", CLIENT, name, (item,), 0, 60)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with database_in(tmp_path / "signer.sqlite3") as made:
        yield made


@pytest.fixture
def known(tmp_path: Path, database: Database) -> Iterator[KnownOwner]:
    made = KnownOwner(tmp_path / FILE_NAME, database)
    yield made
    made.close()


def test_the_latest_is_kept(known: KnownOwner, tmp_path: Path, database: Database) -> None:
    """By date, over a restart, in a file for its owner alone."""
    known.signed("default", signed(3, "", ("p", PEER, "", "Bob"), at=2000))
    known.signed("default", signed(3, "", at=1000))  # an older one comes late
    assert known.of(question(3)).names == {PEER: "Bob"}
    assert known.latest("work", 3) is None
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    again = KnownOwner(tmp_path / FILE_NAME, database)
    assert [event.created_at for event in again.of(question(3)).events.values()] == [2000]
    again.close()


@pytest.mark.parametrize(
    ("profile", "name"),
    [('{"name":"Anna\\u202e"}', "Anna·"), ("{}", ""), ('{"name":5}', ""), ("[", ""), ("[]", "")],
)
def test_a_key_by_its_own_profile(known: KnownOwner, profile: str, name: str) -> None:
    """What the owner is called there, harmless; nothing where that can't be read."""
    assert known.of(question(1)).own_name == ""
    known.signed("default", signed(0, profile))
    assert known.of(question(1)).own_name == name


def test_addressable_events_by_their_d_tag(known: KnownOwner) -> None:
    """Another app's data is not what this one replaces."""
    known.signed("default", signed(30078, "one", ("d", "a")))
    known.signed("default", signed(30078, "two", ("d", "b")))
    found = known.of(question(30078, ("d", "b"))).events
    assert [event.content for event in found.values()] == ["two"]


def test_bytes_are_bounded(known: KnownOwner) -> None:
    """An app that may sign everything fills no disk: the oldest go."""
    for number in range(20):
        event = signed(30078, "x" * 400_000, ("d", str(number)), at=number)
        known.signed("default", event)
    kept = [number for number in range(20) if known.latest("default", 30078, str(number))]
    assert kept == list(range(10, 20))
    assert MAX_BYTES == 4 * 1024 * 1024
    known.signed("default", signed(30078, "x" * 600_000, ("d", "huge"), at=99))
    assert known.latest("default", 30078, "huge") is None


def test_hosts_are_counted(known: KnownOwner) -> None:
    """Where a key was, by host; bounded, and only asked for where it counts."""
    known.signed("default", signed(27235, "", ("u", "https://site.example/a?b")))
    known.signed("default", signed(22242, "", ("relay", "wss://relay.example")))
    assert known.of(question(27235)).hosts == {"site.example", "relay.example"}
    assert known.of(question(1)).hosts is None
    for number in range(MAX_HOSTS + 10):
        known.signed("default", signed(27235, "", ("u", f"https://{number}.example"), at=number))
    hosts = known.of(question(22242)).hosts
    assert hosts is not None
    assert len(hosts) == MAX_HOSTS


async def test_notes_are_in_memory_alone(
    known: KnownOwner, tmp_path: Path, database: Database
) -> None:
    """A deletion shows what was said; no file holds it."""
    listener = known.listener("default")
    note = signed(1, "good morning " * 100)
    listener(note)
    found = known.of(question(5, ("e", note.id))).notes
    assert found == {note.id: note.content[:NOTE_LENGTH]}
    again = KnownOwner(tmp_path / FILE_NAME, database)
    assert again.of(question(5, ("e", note.id))).notes == {}
    again.close()


@pytest.mark.parametrize(
    ("name", "same"), [("Notes", True), ("  NOTES.", True), ("Other", False), ("", False)]
)
def test_a_second_app_of_the_same_name(
    known: KnownOwner, database: Database, name: str, *, same: bool
) -> None:
    """However it is spelt; an app is not the same as itself."""
    with database.write() as connection:
        for pubkey, called in ((PEER, "Notes"), (CLIENT, name)):
            about = ClientMetadata(called)
            clients.add(connection, "default", pubkey, about, (), "", (), 1)
    assert known.of(question(1, name=name)).same_name is same


def test_a_file_that_fails_is_done_without(tmp_path: Path, database: Database) -> None:
    """Then nothing can be compared, and everything else works."""
    (tmp_path / "folder").mkdir()
    known = KnownOwner(tmp_path / "folder", database)
    known.signed("default", signed(3))
    assert known.of(question(3)).events == {}
    assert known.of(question(27235)).hosts is None
