"""Steps that come together share what can be written once, and the log is copied now and then."""

import asyncio
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from bunker_signer.store import Database, Writer, audit_log, journal
from bunker_signer.store.database.engine import FILE_NAME
from bunker_signer.store.database.writer import CHECKPOINT, LATEST
from bunker_signer.store.journal import Entry, State

NOW = 1_800_000_000
KEY, CLIENT = "default", "aa" * 32
REQUESTS = 1000
# Pages of SQLite's log at which a commit copies it by itself (`_LONGEST_LOG`), and waits for that.
LONGEST_LOG = 8000


class Watched(Database):
    """A database that notes how many pages its log has whenever it is copied."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.log: list[int] = []

    def checkpoint(self) -> None:
        with self._engine.connect() as connection:
            driver: Any = connection.connection.dbapi_connection
            row = driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        self.log.append(row[1])


def request(number: int) -> tuple[str, Callable[[Connection], None]]:
    """Return the digest of a granted request and the step that writes it down, answered."""
    digest = sha256(str(number).encode()).hexdigest()
    entry = Entry(
        digest, KEY, CLIENT, "", "ws://r", State.ANSWERED, NOW, "grant sign_event:1", "a" * 1100
    )

    def admit(connection: Connection) -> None:
        journal.mark_handled(connection, digest, NOW)
        journal.add(connection, entry)
        audit_log.append(
            connection,
            NOW,
            "request",
            KEY,
            client_pubkey=CLIENT,
            method="sign_event",
            param="1",
            event_id=digest,
            outcome="allowed",
            decided_by="grant sign_event:1",
        )

    return digest, admit


def finish(digest: str, connection: Connection) -> None:
    journal.finish(connection, digest)


def begun_by(
    writer: Writer, monkeypatch: pytest.MonkeyPatch, before: Callable[[], object] = lambda: None
) -> asyncio.Event:
    """Return an event that is set when a copy of the log has begun; `before` is called first."""
    begin, begun = writer._begin_checkpoint, asyncio.Event()

    def beginning() -> None:
        before()
        begin()
        begun.set()

    monkeypatch.setattr(writer, "_begin_checkpoint", beginning)
    return begun


def test_one_by_one_the_log_is_copied_by_a_thread_and_never_by_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request takes two steps, so that without a pause the log is copied after 540 of them."""
    monkeypatch.setattr("bunker_signer.store.database.writer.PAUSE", 3600.0)
    database = Watched(tmp_path / FILE_NAME)
    writer = Writer(database)

    async def ask() -> None:
        for number in range(REQUESTS):
            digest, admit = request(number)
            await writer.write(admit)
            # A pause, in which nothing is committed: a copy begins that is due, and has all of it.
            await asyncio.sleep(0)
            if writer._checkpoint is not None:
                await writer._checkpoint
            writer.write_soon(partial(finish, digest))

    asyncio.run(ask())
    writer.close()
    database.close()
    assert len(database.log) == 2 * REQUESTS // LATEST
    # A commit that had copied it would have begun it anew, and it would be short.
    assert all(LONGEST_LOG // 2 < pages < LONGEST_LOG for pages in database.log), database.log


def test_the_log_is_copied_when_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has piled up is copied in the first pause, and no sooner while there is work."""
    monkeypatch.setattr("bunker_signer.store.database.writer.PAUSE", 3600.0)
    database = Watched(tmp_path / FILE_NAME)
    writer = Writer(database)

    def note(number: int) -> Callable[[Connection], bool]:
        return lambda to: journal.mark_handled(to, f"{number:064x}", NOW)

    async def ask() -> None:
        writer._since_checkpoint = CHECKPOINT - 1
        await writer.write(note(0))
        assert writer._checkpoint_soon is not None
        armed = writer._since_checkpoint
        await writer.write(note(1))
        begun = begun_by(writer, monkeypatch)
        monkeypatch.setattr("bunker_signer.store.database.writer.PAUSE", 0.0)
        writer._paused(armed)  # something was written meanwhile
        assert not begun.is_set()
        await asyncio.wait_for(begun.wait(), 10)
        assert writer._checkpoint is not None
        await writer._checkpoint
        await writer.write(note(2))
        assert writer._checkpoint_soon is None  # little has come since

    asyncio.run(ask())
    writer.close()
    database.close()
    assert len(database.log) == 1


def test_the_first_copy_finds_its_thread_and_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are made as the signer starts; a copy begins when what was answered is on its way."""
    database = Watched(tmp_path / FILE_NAME)
    writer = Writer(database)
    order: list[str] = []

    async def ask() -> None:
        writer.prepare()
        assert writer._checkpoint is not None
        await writer._checkpoint
        assert len(database.log) == 1
        (thread,) = writer._copier._threads

        def opened(*_: object) -> None:
            order.append("connection")

        def answer(_: object) -> None:
            asyncio.get_running_loop().call_soon(order.append, "sent")

        event.listen(database._engine, "connect", opened)
        begun = begun_by(writer, monkeypatch, lambda: order.append("copy"))
        writer._since_checkpoint = LATEST - 1
        writer.hand_in(lambda to: journal.mark_handled(to, "a" * 64, NOW), answer, answer)
        await asyncio.wait_for(begun.wait(), 10)
        await writer._checkpoint
        assert list(writer._copier._threads) == [thread]

    asyncio.run(ask())
    writer.close()
    database.close()
    assert order == ["sent", "copy"]
    assert len(database.log) == 2


def test_a_group_writes_down_once_where_the_chain_ends(tmp_path: Path) -> None:
    """Sixteen entries in one transaction are sixteen rows and one change of the log's end."""
    database = Database(tmp_path / FILE_NAME)
    writer = Writer(database)
    said: list[str] = []

    def watch(connection: Connection) -> None:
        driver: Any = connection.connection.dbapi_connection
        driver.set_trace_callback(said.append)

    async def ask() -> None:
        await writer.write(lambda to: audit_log.append(to, NOW, "start", KEY))
        await writer.write(watch)
        said.clear()
        # A group is half of what waits.
        await asyncio.gather(*(writer.write(request(number)[1]) for number in range(32)))

    asyncio.run(ask())
    first = said[: said.index("COMMIT")]
    writer.close()
    assert sum(item.startswith("INSERT INTO audit ") for item in first) == 16
    assert sum(item.startswith("UPDATE audit_ends") for item in first) == 1
    with database.read() as connection:
        assert audit_log.check(connection)[0] == 33
    database.close()


def test_who_is_told_and_fails_keeps_nobody_else_of_its_group(tmp_path: Path) -> None:
    """What follows from a step is told in the turn that commits it, to each for itself."""
    database = Database(tmp_path / FILE_NAME)
    writer = Writer(database)
    told: list[object] = []

    def fail(_: object) -> None:
        raise ValueError("broken")

    async def ask() -> None:
        over = asyncio.Event()
        writer.hand_in(lambda to: journal.mark_handled(to, "a" * 64, NOW), fail, told.append)
        writer.hand_in(lambda to: journal.mark_handled(to, "b" * 64, NOW), told.append, fail)
        writer.hand_in(fail, told.append, fail)

        def written(result: object) -> None:  # hands in what belongs to the next group
            told.append(result)
            writer.hand_in(lambda _: "next", last, fail)

        def last(result: object) -> None:
            told.append(result)
            over.set()

        writer.hand_in(lambda to: journal.mark_handled(to, "b" * 64, NOW), written, fail)
        await asyncio.wait_for(over.wait(), 10)

    asyncio.run(ask())
    writer.close()
    database.close()
    assert told == [True, False, "next"]


def test_a_group_whose_last_step_fails_leaves_a_whole_chain(tmp_path: Path) -> None:
    """The end of the chain goes with the entries that are kept, not with those that failed."""
    database = Database(tmp_path / FILE_NAME)
    writer = Writer(database)

    def fail(connection: Connection) -> None:
        audit_log.append(connection, NOW, "request", KEY)
        raise ValueError("broken")

    async def ask() -> list[object]:
        steps = [writer.write(request(1)[1]), writer.write(request(2)[1]), writer.write(fail)]
        return await asyncio.gather(*steps, return_exceptions=True)

    outcomes = asyncio.run(ask())
    assert [type(item) for item in outcomes] == [type(None), type(None), ValueError]
    writer.close()
    with database.read() as connection:
        assert audit_log.check(connection)[0] == 2
    database.close()
