"""Bring a database to the version of this program.

A fresh one is made whole, without loading Alembic, which takes as long as all the rest of the
start; a test holds that both ways give the same tables.
"""

from pathlib import Path
from typing import Final

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from bunker_relay.schema import metadata

VERSION: Final = "0001"


class NewerDatabase(Exception):
    """The database was written by a later version of this program."""


def prepare(connection: Connection) -> None:
    """Make or upgrade the tables; raises NewerDatabase."""
    if not inspect(connection).has_table("alembic_version"):
        metadata.create_all(connection)
        connection.execute(
            text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        )
        connection.execute(
            text("INSERT INTO alembic_version (version_num) VALUES (:version)"),
            {"version": VERSION},
        )
        return
    found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    if found == VERSION:
        return
    if found is not None and found > VERSION:
        raise NewerDatabase(
            f"the database has version {found}, this program knows {VERSION}: upgrade the program"
        )
    upgrade(connection)


def upgrade(connection: Connection) -> None:
    """Run the migrations that are missing."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
