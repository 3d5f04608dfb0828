"""Steps that come together are committed together, and each has its own result."""

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, select

from bunker_signer.store import Database, StoreError, Writer, journal
from bunker_signer.store.database.schema import handled as handled_events
from bunker_signer.store.database.writer import GROUP, LATEST
from bunker_signer.store.journal import Entry, State

NOW = 1_800_000_000
CLIENT = "aa" * 32


def entry(digest: str) -> Entry:
    return Entry(digest, "default", CLIENT, "{}", "ws://r", State.OPEN, NOW, "", "")


def commits_of(database: Database) -> list[object]:
    """Return a list that grows with each commit."""
    commits: list[object] = []

    def see(text: str) -> None:
        if text == "COMMIT":
            commits.append(text)

    def watch(driver: Any, _record: object, _proxy: object) -> None:
        driver.set_trace_callback(see)

    if database.directory is None:
        event.listen(database._engine, "commit", commits.append)
    else:  # the writer commits by the driver
        event.listen(database._engine, "checkout", watch)
    return commits


def mark(writer: Writer, name: str) -> Any:
    return writer.write(lambda to: journal.mark_handled(to, name, NOW))


def handled(database: Database, *names: str) -> list[bool]:
    with database.read() as connection:
        known = set(connection.scalars(select(handled_events.c.event_id)))
    return [name in known for name in names]


async def test_steps_of_one_turn_share_transactions(database: Database) -> None:
    """Half of those that wait have a commit in common; each has its own result after it."""
    commits = commits_of(database)
    writer = Writer(database)
    results = await asyncio.gather(*(mark(writer, name) for name in "aabcdef"))
    assert results == [True, False, True, True, True, True, True]
    assert len(commits) == 3  # four of seven, two of three, the last one
    assert all(handled(database, *"abcdef"))
    writer.close()


async def test_an_answer_does_not_wait_for_all_that_begins(database: Database) -> None:
    """A group is bounded, the next one follows by itself, and last steps come first."""
    commits = commits_of(database)
    writer = Writer(database)
    written: list[str] = []

    async def step(name: str, *, last: bool = False) -> None:
        await writer.write(lambda to: journal.mark_handled(to, name, NOW), last=last)
        written.append(name)

    first = [f"first {number}" for number in range(2 * GROUP)]
    await asyncio.gather(*map(step, first), step("answer", last=True))
    assert written == ["answer", *first]
    assert len(commits) == 6  # 16 of 33, half of 17, and so on
    writer.close()


async def test_a_step_that_fails_takes_no_other_along(database: Database) -> None:
    """What raises is not written, by itself or by the database; the rest of its group is."""

    def fail(to: Connection) -> None:
        journal.mark_handled(to, "failed", NOW)
        raise ZeroDivisionError

    def refused(to: Connection) -> None:
        journal.mark_handled(to, "refused", NOW)
        journal.add(to, entry("d"))
        journal.add(to, entry("d"))

    writer = Writer(database)
    steps = (mark(writer, "a"), writer.write(fail), writer.write(refused), mark(writer, "b"))
    outcomes = await asyncio.gather(*steps, return_exceptions=True)
    assert [type(item) for item in outcomes] == [bool, ZeroDivisionError, StoreError, bool]
    names = ("a", "b", "failed", "refused")
    assert handled(database, *names) == [True, True, False, False]
    writer.close()


async def test_what_nobody_waits_for_goes_along(database: Database) -> None:
    """It is written with the next group, or when the writer closes."""
    commits = commits_of(database)
    writer = Writer(database)
    writer.write_soon(lambda to: journal.mark_handled(to, "soon", NOW))
    await mark(writer, "a")
    assert len(commits) == 1
    writer.write_soon(lambda to: journal.mark_handled(to, "last", NOW))
    writer.close()
    assert handled(database, "soon", "last") == [True, True]


async def test_a_group_that_is_not_committed_fails_as_a_whole(tmp_path: Path) -> None:
    """Nobody goes on as if it were written, and the next group is."""
    path = tmp_path / "db"
    database = Database(path)
    writer = Writer(database)
    writer.read(lambda at: at.connection.cursor().execute("PRAGMA busy_timeout=0"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    outcomes = await asyncio.gather(mark(writer, "a"), mark(writer, "b"), return_exceptions=True)
    assert [type(item) for item in outcomes] == [StoreError, StoreError]
    other.close()
    assert await mark(writer, "a")
    writer.close()
    database.close()


async def test_the_log_is_copied_beside_the_commits(tmp_path: Path) -> None:
    """Long before a commit would have to, a thread has brought SQLite's log into its database."""
    path = tmp_path / "db"
    database = Database(path)
    writer = Writer(database)
    before = path.stat().st_size
    steps = [replace(entry(f"{number}"), event="e" * 4096) for number in range(LATEST)]

    def write(step: Entry) -> Any:
        return writer.write(lambda to: journal.add(to, step))

    await asyncio.gather(*map(write, steps[:-1]))
    assert path.stat().st_size == before
    await write(steps[-1])
    await asyncio.sleep(0)  # it begins in the turn that sends what was answered
    assert writer._checkpoint is not None
    await writer._checkpoint
    assert path.stat().st_size > before + 4096 * (LATEST - 1)
    writer.close()
    database.close()
