"""The two databases that the store runs on."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bunker_signer.store import Database
from bunker_signer.store.database.schema import metadata

if TYPE_CHECKING:
    from support.postgres import PostgresServer


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    if request.param == "sqlite":
        opened = Database(tmp_path / "signer.sqlite3")
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        opened = Database(server.url.replace("postgresql:", "postgresql+psycopg:"))
        with opened.write() as connection:
            for table in metadata.sorted_tables:
                connection.execute(table.delete())
    try:
        yield opened
    finally:
        opened.close()
