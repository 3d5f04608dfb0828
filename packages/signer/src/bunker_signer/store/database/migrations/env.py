"""What Alembic runs: on the connection that it is given, in the transaction that is open."""

from alembic import context

from bunker_signer.store.database.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite can't alter a column in place
)
context.run_migrations()
