"""What the cache holds is what the database says, whoever changed it."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection

from bunker_core.nips.nip46 import ClientMetadata
from bunker_signer.policy import Effect, Grant
from bunker_signer.store import Database, Writer, audit_log, clients, grants
from bunker_signer.store.database.cache import CLIENTS

T = TypeVar("T")
NOW = 1_800_000_000
KEY, CLIENT, OTHER = "default", "aa" * 32, "bb" * 32
NOTES = Grant("sign_event", "1")


@pytest.fixture
def database(database: Database) -> Database:
    """A database with one client that may sign notes."""
    with database.write() as connection:
        clients.add(connection, KEY, CLIENT, ClientMetadata("A"), ("ws://r",), "", [NOTES], NOW)
    return database


@pytest.fixture
def writer(database: Database) -> Iterator[Writer]:
    """The one writer, which has seen the client and its grants."""
    opened = Writer(database)
    assert opened.read(find) is not None
    assert [item.param for item in opened.read(held)] == ["1"]
    try:
        yield opened
    finally:
        opened.close()


def find(connection: Connection) -> clients.Client | None:
    return clients.find(connection, KEY, CLIENT)


def held(connection: Connection) -> tuple[Grant, ...]:
    return grants.of(connection, KEY, CLIENT)


def write(writer: Writer, work: Callable[[Connection], T]) -> T:
    """Return the result of a step that is a transaction of its own."""

    async def once() -> T:
        return await writer.write(work)

    return asyncio.run(once())


def elsewhere(database: Database, work: Callable[[Connection], object]) -> None:
    """Change the database by another connection, as the console and other processes do."""
    with database.write() as connection:
        work(connection)


def test_a_revocation_elsewhere_counts_in_the_next_transaction(
    database: Database, writer: Writer
) -> None:
    """A client that another connection removed is gone, and its grants, for the next request."""
    elsewhere(database, lambda to: clients.remove(to, KEY, CLIENT))
    assert write(writer, lambda to: (find(to), held(to))) == (None, ())
    assert writer.read(find) is None


def test_a_denial_elsewhere_counts_in_the_next_transaction(
    database: Database, writer: Writer
) -> None:
    """A grant that another connection turned into a denial is one for the next request."""
    denial = replace(NOTES, effect=Effect.DENY)
    elsewhere(database, lambda to: grants.put(to, KEY, CLIENT, denial, NOW))
    assert [item.effect for item in write(writer, held)] == [Effect.DENY]


def test_another_process_is_seen(tmp_path: Path) -> None:
    """What a second opening of the file commits is seen by the first, as a command's change is."""
    first, second = (Database(tmp_path / "signer.sqlite3") for _ in range(2))
    elsewhere(first, lambda to: clients.add(to, KEY, CLIENT, ClientMetadata("A"), (), "", (), NOW))
    writer = Writer(first)
    assert writer.read(find) is not None
    elsewhere(second, lambda to: clients.rename(to, KEY, CLIENT, "Mine"))
    renamed = writer.read(find)
    writer.close()
    first.close()
    second.close()
    assert renamed is not None
    assert renamed.metadata.name == "Mine"


@pytest.mark.parametrize(
    "change",
    [
        lambda to: clients.remove(to, KEY, CLIENT),
        lambda to: clients.rename(to, KEY, CLIENT, "B"),
        lambda to: clients.set_relays(to, KEY, CLIENT, ("ws://other",)),
        lambda to: clients.see(to, clients.every(to)[0], NOW + 60),
        lambda to: clients.add(to, KEY, CLIENT, ClientMetadata("B"), (), "", (), NOW + 1),
        lambda to: grants.remove_all(to, KEY, CLIENT),
        lambda to: grants.remove(to, grants.of(to, KEY, CLIENT)[0].id),
        lambda to: grants.put(to, KEY, CLIENT, Grant("sign_event", "7"), NOW),
        lambda to: grants.put(to, KEY, CLIENT, replace(NOTES, uses_left=3), NOW),
    ],
)
def test_every_change_of_its_own_is_seen(
    database: Database, writer: Writer, change: Callable[[Connection], object]
) -> None:
    """After each change that the writer makes, memory and a connection without it agree."""
    write(writer, change)
    with database.read() as connection:
        fresh = find(connection), held(connection)
    assert (writer.read(find), writer.read(held)) == fresh


def test_each_use_of_a_grant_counts_for_the_next_in_its_transaction(writer: Writer) -> None:
    """Of three requests in one transaction a grant for two uses allows two."""
    write(writer, lambda to: grants.put(to, KEY, CLIENT, replace(NOTES, uses_left=2), NOW))

    def use(connection: Connection) -> bool:
        (grant,) = held(connection)
        if not grant.live(NOW):
            return False
        grants.use(connection, grant, NOW)
        return True

    async def together() -> list[bool]:
        return await asyncio.gather(*(writer.write(use) for _ in range(3)))

    assert asyncio.run(together()) == [True, True, False]


def test_what_was_rolled_back_is_not_remembered(writer: Writer) -> None:
    """A step that fails after it changed and read takes neither into the memory."""

    def fail(connection: Connection) -> None:
        clients.rename(connection, KEY, CLIENT, "never")
        grants.remove_all(connection, KEY, CLIENT)
        find(connection)
        held(connection)
        audit_log.append(connection, NOW, "rename", KEY)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        write(writer, fail)
    client = writer.read(find)
    assert client is not None
    assert client.metadata.name == "A"
    assert [item.param for item in writer.read(held)] == ["1"]
    write(writer, lambda to: audit_log.append(to, NOW, "test", KEY))
    assert [entry.seq for entry in writer.read(audit_log.entries)] == [1]


def test_the_chain_goes_on_after_another_connection_has_appended(
    database: Database, writer: Writer
) -> None:
    """Entries of the writer and of another connection, in turn, are one chain."""
    for number in range(3):
        write(writer, lambda to: audit_log.append(to, NOW, "request", KEY))
        elsewhere(database, lambda to: audit_log.append(to, NOW, "pair", KEY))
        if number == 1:
            elsewhere(database, lambda to: audit_log.let_go(to, NOW + 1))
    with database.read() as connection:
        assert audit_log.check(connection)[0] == 2
        assert [entry.seq for entry in audit_log.entries(connection)] == [5, 6]


def test_a_second_look_asks_one_thing_of_sqlite(tmp_path: Path) -> None:
    """A client and its grants that are known cost one statement, which reads no table."""
    database = Database(tmp_path / "signer.sqlite3")
    elsewhere(
        database, lambda to: clients.add(to, KEY, CLIENT, ClientMetadata("A"), (), "", [NOTES], NOW)
    )
    writer = Writer(database)
    said: list[str] = []

    def trace(connection: Connection) -> None:
        driver: Any = connection.connection.dbapi_connection
        driver.set_trace_callback(said.append)

    writer.read(trace)
    for _ in range(2):
        said.clear()
        writer.read(lambda at: (find(at), held(at)))
    writer.close()
    database.close()
    assert said == ["PRAGMA data_version"]


def test_strangers_and_a_crowd_do_not_fill_the_memory(tmp_path: Path) -> None:
    """Of who is no client nothing is held, of clients the last CLIENTS."""
    database = Database(tmp_path / "signer.sqlite3")
    writer = Writer(database)
    sizes: list[int] = []

    def look(connection: Connection) -> None:
        for number in range(CLIENTS + 10):
            grants.of(connection, KEY, f"{number:064x}")
            clients.find(connection, KEY, f"{number:064x}")
        cache = connection.info["bunker.cache"]
        sizes.extend((len(cache.clients), len(cache.grants)))

    writer.read(look)
    writer.close()
    database.close()
    assert sizes == [0, CLIENTS]


def test_a_connection_that_is_given_back_takes_no_memory_along(database: Database) -> None:
    """After the writer is closed its connection is anybody's, and asks each time."""
    writer = Writer(database)
    writer.read(find)
    writer.close()
    with database.read() as connection:
        assert "bunker.cache" not in connection.info


@pytest.mark.parametrize("fails", [False, True])
def test_what_sqlalchemy_runs_belongs_to_the_writer_s_transaction(
    database: Database, writer: Writer, *, fails: bool
) -> None:
    """Prepared statements and SQLAlchemy's own are committed together, or rolled back together."""

    def both(connection: Connection) -> None:
        audit_log.append(connection, NOW, "rename", KEY)
        clients.rename(connection, KEY, CLIENT, "new")
        with database.read() as other:
            assert (find(other) or client_b).metadata.name == "A"
        if fails:
            raise ValueError("broken")

    client_b = clients.Client(KEY, OTHER, ClientMetadata("B"), (), "", NOW, NOW)
    if fails:
        with pytest.raises(ValueError, match="broken"):
            write(writer, both)
    else:
        write(writer, both)
    with database.read() as connection:
        found = find(connection)
        assert found is not None
        assert found.metadata.name == ("A" if fails else "new")
        assert audit_log.head(connection)[0] == (0 if fails else 1)
    # The next transaction begins as ever.
    write(writer, lambda to: clients.rename(to, KEY, CLIENT, "last"))
    assert (writer.read(find) or client_b).metadata.name == "last"
