"""What the signer remembers, on SQLite and on PostgreSQL."""

import asyncio
import contextlib
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event, inspect, select, text

from _modules import modules_after
from bunker_core.nips.nip46 import ClientMetadata, Request
from bunker_signer.policy import Effect, Grant, Rate
from bunker_signer.store import (
    Database,
    StoreError,
    Writer,
    audit_log,
    clients,
    grants,
    journal,
    settings,
)
from bunker_signer.store.database.engine import HEAD
from bunker_signer.store.database.migrations import config_for, upgrade
from bunker_signer.store.database.schema import handled as handled_events
from bunker_signer.store.database.schema import metadata
from bunker_signer.store.database.writer import GROUP, LATEST
from bunker_signer.store.journal import KEEP_ANSWERS, Entry, State

NOW = 1_800_000_000
CLIENT, OTHER = "aa" * 32, "bb" * 32


def admit(database: Database, secret: str = "s", *granted: Grant, key: str = "default") -> None:
    with database.write() as connection:
        clients.add_secret(connection, key, secret, granted, ("ws://r",), NOW)


def pair(
    database: Database, pubkey: str, secret: str, now: int = NOW, key: str = "default"
) -> bool:
    with database.write() as connection:
        return clients.pair(connection, key, pubkey, secret, ClientMetadata("A"), "p", now)


# --- migrations ----------------------------------------------------------------------------------


def test_migrations_make_the_tables(database: Database) -> None:
    """A fresh database and the migrations give the tables of the code, and HEAD is the newest."""
    with database.write() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == HEAD
        scripts = ScriptDirectory.from_config(config_for(connection))
        assert scripts.get_heads() == [HEAD]
        fresh = {name: _shape(connection, name) for name in metadata.tables}
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
        upgrade(connection)
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert {name: _shape(connection, name) for name in metadata.tables} == fresh


def _shape(connection: Connection, table: str) -> object:
    """Columns with types and defaults, keys and indexes of a table."""
    seen = inspect(connection)
    columns = [{**column, "type": str(column["type"])} for column in seen.get_columns(table)]
    found = [
        {**index, "dialect_options": _texts(index.get("dialect_options", {}))}
        for index in seen.get_indexes(table)
    ]
    indexes = sorted(found, key=lambda index: str(index["name"]))
    return columns, seen.get_pk_constraint(table), seen.get_foreign_keys(table), indexes


def _texts(options: Any) -> str:
    """Return an index's own options: its condition is an object that equals itself alone."""
    return str({key: str(value) for key, value in options.items()})


def test_a_database_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    """Its entries stay a chain, and an app's are found by the new indexes."""
    path = tmp_path / "signer.sqlite3"
    database = Database(path)
    with database.write() as connection:
        for action in ("pair", "request", "rename"):
            method = "ping" if action == "request" else ""
            facts = {"client_pubkey": CLIENT, "method": method, "param": action}
            audit_log.append(connection, NOW, action, "default", **facts)
        for name in ("audit_of", "audit_naming"):
            connection.execute(text(f"DROP INDEX {name}"))
        connection.execute(text("CREATE INDEX ix_audit_client_pubkey ON audit (client_pubkey)"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    database.close()
    database = Database(path)
    with database.read() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == HEAD
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert audit_log.check(connection)[0] == 3
        assert audit_log.names(connection, [CLIENT]) == {CLIENT: ((1, "pair"), (3, "rename"))}
    database.close()


def test_a_database_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    """Who goes back to an older program is told to upgrade it, and nothing is changed."""
    path = tmp_path / "signer.sqlite3"
    database = Database(path)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(StoreError, match=r"has version 9999.*upgrade the program"):
        Database(path)
    with contextlib.closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)


def test_the_names_of_apps_are_found_without_their_requests(tmp_path: Path) -> None:
    """SQLite looks into the index of what names an app; requests are not in it."""
    database = Database(tmp_path / "signer.sqlite3")
    plans: list[str] = []
    with database.read() as connection:
        real = connection.execute

        def explain(query: Any) -> Any:
            compiled = query.compile(
                connection.engine,
                compile_kwargs={"literal_binds": True, "render_postcompile": True},
            )
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")
            plans.extend(str(row[3]) for row in plan)
            return real(query)

        connection.execute = explain  # type: ignore[method-assign, assignment]
        assert audit_log.names(connection, [CLIENT, OTHER]) == {}
    database.close()
    assert any("audit_naming" in step for step in plans)
    assert not any("audit_of" in step or step.startswith("SCAN") for step in plans)


def test_opening_again_keeps_everything(tmp_path: Path) -> None:
    """A second start migrates nothing and finds what was there."""
    for _ in range(2):
        database = Database(tmp_path / "db")
        with database.write() as connection:
            settings.set_relays(connection, ["ws://a", "ws://b"])
            assert settings.get_relays(connection) == ("ws://a", "ws://b")
        database.close()


def test_no_database(tmp_path: Path) -> None:
    """What can't be opened is named, without the password of its URL."""
    with pytest.raises(StoreError, match="nowhere"):
        Database(tmp_path / "nowhere" / "db")
    for url in ("nonsense", "nosuchsql://u:hunter2@h/db"):
        with pytest.raises(StoreError) as raised:
            Database(url)
        assert "hunter2" not in str(raised.value)
        assert "\n" not in str(raised.value)


def test_a_failed_block_changes_nothing(database: Database) -> None:
    """A transaction is whole or not there."""
    with contextlib.suppress(ZeroDivisionError), database.write() as connection:
        settings.set_relays(connection, ["ws://a"])
        raise ZeroDivisionError
    with database.read() as connection:
        assert settings.get_relays(connection) == ()


def test_errors_show_no_parameters(tmp_path: Path) -> None:
    """A failing statement is told without what it was about."""
    database = Database(tmp_path / "db")
    with pytest.raises(StoreError) as raised, database.write() as connection:
        connection.execute(text("INSERT INTO nowhere VALUES (:x)"), {"x": "hunter2"})
    assert "hunter2" not in str(raised.value)
    database.close()


# --- secrets and clients -------------------------------------------------------------------------


def test_a_secret_is_spent_by_one_client(database: Database) -> None:
    """The first client gets what the owner granted; the second nothing."""
    admit(database, "s", Grant("sign_event", "1", uses_left=3))
    assert pair(database, CLIENT, "s")
    assert not pair(database, OTHER, "s")
    with database.read() as connection:
        (held,) = grants.of(connection, "default", CLIENT)
        assert (held.method, held.param, held.uses_left) == ("sign_event", "1", 3)
        client = clients.find(connection, "default", CLIENT)
        assert client is not None
        assert (client.relays, client.requested) == (("ws://r",), "p")
        assert clients.find(connection, "default", OTHER) is None


def test_a_secret_has_an_end_and_a_key(database: Database) -> None:
    """A day later it is worth nothing, and with another key it never was."""
    admit(database)
    assert not pair(database, CLIENT, "s", NOW + clients.SECRET_LIFETIME + 1)
    assert not pair(database, CLIENT, "s", key="work")
    assert not pair(database, CLIENT, "S")
    assert pair(database, CLIENT, "s", NOW + clients.SECRET_LIFETIME)


def test_one_secret_at_the_same_moment(database: Database) -> None:
    """Of many clients that come with a secret at once, exactly one is paired."""
    admit(database)
    start = threading.Barrier(8)
    paired: list[bool] = []

    def client(number: int) -> None:
        start.wait()
        paired.append(pair(database, f"{number:064}", "s"))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(paired) == [False] * 7 + [True]


def test_no_secret_is_stored(tmp_path: Path) -> None:
    """A copy of the database gives nobody a URI."""
    database = Database(tmp_path / "db")
    admit(database, "hunter2-hunter2")
    database.close()
    assert not any(b"hunter2" in path.read_bytes() for path in tmp_path.iterdir())


def test_keys_do_not_share_clients(database: Database) -> None:
    """The same client may be paired with two keys, with other grants."""
    admit(database, "one", Grant("sign_event"))
    admit(database, "two", key="work")
    assert pair(database, CLIENT, "one")
    assert pair(database, CLIENT, "two", key="work")
    with database.write() as connection:
        assert grants.of(connection, "work", CLIENT) == ()
        assert [item.key_name for item in clients.every(connection, "work")] == ["work"]
        assert clients.remove(connection, "default", CLIENT)
        assert not clients.remove(connection, "default", CLIENT)
        assert len(clients.every(connection)) == 1
        assert grants.of(connection, "default", CLIENT) == ()


def test_last_seen_and_relays(database: Database) -> None:
    """Facts about a client change, time only forward."""
    admit(database)
    pair(database, CLIENT, "s")
    with database.write() as connection:
        before = clients.find(connection, "default", CLIENT)
        assert before is not None
        clients.see(connection, before, NOW + 100)
        clients.see(connection, before, NOW + 70)
        clients.set_relays(connection, "default", CLIENT, ["ws://new"])
        client = clients.find(connection, "default", CLIENT)
        assert client is not None
        assert (client.last_seen, client.relays) == (NOW + 100, ("ws://new",))
        assert not clients.rename(connection, "default", OTHER, "x")


# --- grants --------------------------------------------------------------------------------------


def test_grants_are_kept_with_their_limits(database: Database) -> None:
    """Everything about a grant comes back, and its uses are counted."""
    rich = Grant("nip44_decrypt", OTHER, Effect.ALLOW, NOW + 9, 2, Rate(5, 60))
    with database.write() as connection:
        grants.put(connection, "default", CLIENT, rich, NOW)
        (held,) = grants.of(connection, "default", CLIENT)
        assert held == Grant(
            "nip44_decrypt", OTHER, Effect.ALLOW, NOW + 9, 2, Rate(5, 60), 0, 0, held.id
        )
        grants.use(connection, held, NOW)
        (held,) = grants.of(connection, "default", CLIENT)
        assert (held.uses_left, held.window_start, held.window_used) == (1, NOW, 1)
        grants.put(connection, "default", CLIENT, Grant("nip44_decrypt", OTHER, Effect.DENY), NOW)
        (held,) = grants.of(connection, "default", CLIENT)
        assert (held.effect, held.uses_left, held.rate) == (Effect.DENY, None, None)
        assert grants.remove(connection, held.id)
        assert not grants.remove(connection, held.id)


# --- journal -------------------------------------------------------------------------------------


def entry(digest: str, state: State = State.OPEN, at: int = NOW) -> Entry:
    return Entry(digest, "default", CLIENT, "{}", "ws://r", state, at, "", "")


def test_an_event_is_new_once(database: Database) -> None:
    """An event id is remembered for as long as it could be replayed."""
    with database.write() as connection:
        assert journal.mark_handled(connection, "e" * 64, NOW)
        assert not journal.mark_handled(connection, "e" * 64, NOW)
        journal.clean(connection, NOW + 10, 10)
        assert not journal.mark_handled(connection, "e" * 64, NOW)
        journal.clean(connection, NOW + 11, 10)
        assert journal.mark_handled(connection, "e" * 64, NOW)


def test_a_request_moves_one_way(database: Database) -> None:
    """An answer is written once, and nothing that is answered is approved again."""
    with database.write() as connection:
        journal.add(connection, entry("d"))
        assert journal.approve(connection, "d", "owner")
        assert journal.answer(connection, "d", "first")
        assert not journal.answer(connection, "d", "second")
        assert not journal.approve(connection, "d", "owner")
        found = journal.find(connection, "d")
        assert found is not None
        assert (found.state, found.answer, found.decided_by) == (State.ANSWERED, "first", "owner")
        assert journal.finish(connection, "d")
        assert not journal.finish(connection, "d")
        assert not journal.answer(connection, "unknown", "x")


def test_what_is_undone_is_found(database: Database) -> None:
    """After a restart: what is open, approved or not delivered; the oldest first."""
    with database.write() as connection:
        for number, state in enumerate(State):
            journal.add(connection, entry(state.value, state, NOW - number))
        found = [item.state for item in journal.undone(connection)]
        assert found == [State.ANSWERED, State.APPROVED, State.OPEN]
        journal.clean(connection, NOW + KEEP_ANSWERS - 1, 0)
        assert [item.state for item in journal.undone(connection)] == [State.APPROVED, State.OPEN]


def test_a_client_takes_its_requests_along(database: Database) -> None:
    """A revoked client leaves nothing that could still be approved."""
    admit(database)
    pair(database, CLIENT, "s")
    with database.write() as connection:
        journal.add(connection, entry("d"))
        clients.remove(connection, "default", CLIENT)
        assert not journal.approve(connection, "d", "owner")
        assert journal.undone(connection) == ()


def test_digests_tell_requests_apart() -> None:
    """Another key, client, id, method or parameter is another request."""
    request = Request("1", "sign_event", ("x",))
    digests = {
        journal.digest_of("default", CLIENT, request),
        journal.digest_of("work", CLIENT, request),
        journal.digest_of("default", OTHER, request),
        journal.digest_of("default", CLIENT, Request("2", "sign_event", ("x",))),
        journal.digest_of("default", CLIENT, Request(1, "sign_event", ("x",))),
        journal.digest_of("default", CLIENT, Request("1", "nip44_encrypt", ("x",))),
        journal.digest_of("default", CLIENT, Request("1", "sign_event", ("y",))),
    }
    assert len(digests) == 7
    assert journal.digest_of("default", CLIENT, request) in digests


def test_audit_and_states_on_this_database(database: Database) -> None:
    """The log is one chain here too, and a key's state is kept and forgotten."""
    for number in range(3):
        with database.write() as connection:
            audit_log.append(connection, NOW + number, "lock", "default", decided_by="idle")
    with database.write() as connection:
        assert audit_log.check(connection)[0] == 3
        settings.set_key_state(connection, "default", "locked")
        assert settings.get_key_state(connection, "default") == "locked"
        settings.set_key_state(connection, "default", None)
        assert settings.get_key_state(connection, "default") is None
        assert inspect(connection).has_table("audit")


def test_entries_of_one_transaction_are_one_chain(database: Database) -> None:
    """Also after one that was not committed: its end is forgotten with it."""
    with contextlib.suppress(ZeroDivisionError), database.write() as connection:
        audit_log.append(connection, NOW, "lock", "lost")
        raise ZeroDivisionError
    for _ in range(2):
        with database.write() as connection:
            for number in range(3):
                audit_log.append(connection, NOW + number, "lock", "default")
    with database.read() as connection:
        assert audit_log.check(connection)[0] == 6


def test_requests_are_counted_by_day_and_client(database: Database) -> None:
    """The chart's numbers: requests alone, from a time on, of all clients or one."""
    day = NOW // 86400
    with database.write() as connection:
        for at, action, client in (
            (day * 86400 - 1, "request", CLIENT),
            (day * 86400, "request", CLIENT),
            (day * 86400 + 86399, "request", CLIENT),
            (day * 86400 + 86400, "request", OTHER),
            (day * 86400, "pair", CLIENT),
        ):
            audit_log.append(connection, at, action, "default", client_pubkey=client)
    with database.read() as connection:
        since = day * 86400
        assert audit_log.requests_by_day(connection, since) == {
            (day, CLIENT): 2,
            (day + 1, OTHER): 1,
        }
        assert audit_log.requests_by_day(connection, since, OTHER) == {(day + 1, OTHER): 1}
        assert audit_log.requests_by_day(connection, since - 1, CLIENT) == {
            (day - 1, CLIENT): 1,
            (day, CLIENT): 2,
        }


def test_relays_of_clients_are_told_once(database: Database) -> None:
    """The relays of the clients of some keys, however many talk there."""
    with database.write() as connection:
        for number, (key, relays) in enumerate(
            [
                ("a", ("ws://1", "ws://2")),
                ("a", ("ws://1", "ws://2")),
                ("a", ()),
                ("b", ("ws://3",)),
            ]
        ):
            name = f"{number:064x}"
            clients.add(connection, key, name, ClientMetadata(), relays, "", (), NOW)
    with database.read() as connection:
        assert clients.relays(connection, ["a"]) == ("ws://1", "ws://2")
        assert set(clients.relays(connection, ["a", "b"])) == {"ws://1", "ws://2", "ws://3"}
        assert clients.relays(connection, []) == ()


# --- group commit --------------------------------------------------------------------------------


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


def test_sqlite_loads_nothing_of_postgresql(tmp_path: Path) -> None:
    """A signer with a file has no other database's dialect in memory."""
    code = (
        "from pathlib import Path; from bunker_signer.store import Database, journal;"
        f"database = Database(Path({str(tmp_path / 'signer.sqlite3')!r}))\n"
        "with database.write() as connection:\n"
        "    assert journal.mark_handled(connection, 'a' * 64, 1)"
    )
    assert "sqlalchemy.dialects.postgresql" not in modules_after(code)
