"""A database is made, brought up to date or left alone, and says what is wrong with it."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from bunker_signer.store import Database, StoreError, audit_log, settings
from bunker_signer.store.database.engine import HEAD
from bunker_signer.store.database.migrations import config_for, upgrade
from bunker_signer.store.database.schema import metadata
from support.modules import modules_after

NOW = 1_800_000_000
CLIENT, OTHER = "aa" * 32, "bb" * 32


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


def test_sqlite_loads_nothing_of_postgresql(tmp_path: Path) -> None:
    """A signer with a file has no other database's dialect in memory."""
    code = (
        "from pathlib import Path; from bunker_signer.store import Database, journal;"
        f"database = Database(Path({str(tmp_path / 'signer.sqlite3')!r}))\n"
        "with database.write() as connection:\n"
        "    assert journal.mark_handled(connection, 'a' * 64, 1)"
    )
    assert "sqlalchemy.dialects.postgresql" not in modules_after(code)
