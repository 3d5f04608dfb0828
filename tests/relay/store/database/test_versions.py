"""Migrations: what they make of an earlier version's database, and what of a later one's."""

from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from bunker_core.filter import Filter
from bunker_relay.store.database import migrate
from bunker_relay.store.database.engine import Database
from bunker_relay.store.database.schema import metadata, tag_key
from bunker_relay.store.outcome import Outcome, StoreError
from bunker_relay.store.store import FILE, Store
from bunker_relay.store.write import address_of
from relay.store._saving import closing_engine, numbered, save

NOW = 1_000


def test_migrations_make_what_a_fresh_database_has(database: Database, tmp_path: Path) -> None:
    """Alembic from nothing to head gives the tables of `schema`, and prepare is idempotent."""
    with closing_engine(database) as connection:
        migrate.upgrade(connection)
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
        assert differences == []
        migrate.prepare(connection)
        migrated = _shape(connection)
        metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
        migrate.prepare(connection)
        migrate.prepare(connection)
        migrate.upgrade(connection)
        assert _shape(connection) == migrated


async def test_a_database_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    """Events, their tags, versions and deletions are found as before; nothing is doubled."""
    tagged = numbered(1, tags=(("t", "x"), ("p", "a" * 64)))
    listed = numbered(2, kind=30_000, tags=(("d", "list"),))
    gone = numbered(3)
    request = numbered(4, kind=5, tags=(("e", gone.id),))
    with closing_engine(tmp_path / FILE) as connection:
        migrate.upgrade(connection, "0001")
        for seq, event in enumerate((tagged, listed, request), 1):
            address = address_of(event)
            connection.execute(
                text("INSERT INTO events VALUES (:seq, :id, :pubkey, :at, :kind, :a, NULL, :json)"),
                {
                    "seq": seq,
                    "id": bytes.fromhex(event.id),
                    "pubkey": bytes.fromhex(event.pubkey),
                    "at": event.created_at,
                    "kind": event.kind,
                    "a": address,
                    "json": event.to_json(),
                },
            )
            for name, value in event.tags:
                connection.execute(
                    text("INSERT INTO tags (tag, event) VALUES (:tag, :event)"),
                    {"tag": tag_key(name, value), "event": seq},
                )
        connection.execute(
            text("INSERT INTO deletions (pubkey, target, until) VALUES (:by, :target, :until)"),
            {
                "by": bytes.fromhex(gone.pubkey),
                "target": bytes.fromhex(gone.id),
                "until": request.created_at,
            },
        )
    store = Store(tmp_path / FILE)
    for item, expected in (
        (Filter(tags=(("t", frozenset("x")),), kinds=frozenset({1})), {tagged}),
        (Filter(authors=frozenset({"b" * 64})), {tagged, listed, request}),
        (Filter(tags=(("d", frozenset({"list"})),)), {listed}),
    ):
        found = (await store.find([item], NOW, default=9, most=9))[1]
        assert {stored.id for stored in found} == {event.id for event in expected}
    newer = replace(listed, id="5" * 64, created_at=NOW + 1)
    assert await save(store, tagged, listed, gone, newer) == [
        Outcome.DUPLICATE,
        Outcome.DUPLICATE,
        Outcome.DELETED,
        Outcome.SAVED,
    ]
    assert await store.count([Filter()], NOW) == 3
    await store.close()


def _shape(connection: object) -> object:
    found = inspect(connection)
    return {
        table: (
            [(c["name"], str(c["type"]), c["nullable"]) for c in found.get_columns(table)],
            sorted((i["name"] or "", tuple(i["column_names"])) for i in found.get_indexes(table)),
            [key["options"] for key in found.get_foreign_keys(table)],
        )
        for table in found.get_table_names()
    }


async def test_a_database_of_the_future_is_refused(database: Database) -> None:
    """What a later version has written is not touched."""
    await Store(database).close()
    with closing_engine(database) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="upgrade the program"):
        Store(database)
