"""Alembic migrations of the signer's database, run when it is opened."""

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def config_for(connection: Connection) -> Config:
    """Return Alembic's configuration, without a file."""
    config = Config()
    config.set_main_option("script_location", "bunker_signer.store.database:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> None:
    """Bring the database up to date inside the caller's transaction."""
    command.upgrade(config_for(connection), "head")
