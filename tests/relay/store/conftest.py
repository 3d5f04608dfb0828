"""The tables in a database of either kind."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Engine

from bunker_relay.store.database import migrate
from bunker_relay.store.database.engine import Database, open_engine

if TYPE_CHECKING:
    from support.postgres import PostgresServer


@pytest.fixture(params=["sqlite", "postgres"], scope="module")
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A database with the tables, for transactions that are rolled back."""
    database: Database = Path(":memory:")
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        database = server.fresh_url()
    engine = open_engine(database, writes=True)
    with engine.begin() as connection:
        migrate.prepare(connection)
    yield engine
    engine.dispose()
