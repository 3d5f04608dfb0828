"""Statements of the request path: compiled once, then run on the driver's own cursor.

SQLAlchemy writes them, for either database; what it does anew at each execution takes five to ten
times what the database itself does, and a signing request runs ten of them.
"""

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection, Dialect, Executable
from sqlalchemy.sql.compiler import SQLCompiler

# SQL in the driver's words, the values that do not change, and the order of all for a driver that
# takes them by their place.
_Compiled = tuple[str, dict[str, Any], tuple[str, ...] | None]


class Statement:
    """An SQL statement whose parameters are all named (`bindparam`)."""

    def __init__(
        self, statement: Executable, in_postgres: Callable[[], Executable] | None = None
    ) -> None:
        """Take one statement for every database, or one for SQLite and what makes PostgreSQL's.

        The latter is made where it is needed: its dialect takes three megabytes of memory.
        """
        self._statement: Final = statement
        self._in_postgres: Final = in_postgres
        self._compiled: dict[type[Dialect], _Compiled] = {}

    def run(self, connection: Connection, **values: object) -> Any:
        """Run in the transaction of `connection`; return the driver's cursor (DB-API 2).

        A row is a tuple in the order of the columns, as the driver has it. Raises the driver's
        errors, which `Database` turns into StoreErrors.
        """
        dialect = connection.dialect.__class__
        known = self._compiled.get(dialect)
        if known is None:
            known = self._compiled[dialect] = self._compile(connection)
        text, constants, order = known
        if constants:
            values = {**constants, **values}
        # The driver's connection makes the cursor, without SQLAlchemy's way to it.
        driver: Any = connection.connection.dbapi_connection
        return driver.execute(text, values if order is None else [values[key] for key in order])

    def _compile(
        self, connection: Connection
    ) -> tuple[str, dict[str, Any], tuple[str, ...] | None]:
        statement = self._statement
        if self._in_postgres is not None and connection.dialect.name != "sqlite":
            statement = self._in_postgres()
        compiled: Any = statement.compile(dialect=connection.dialect)  # type: ignore[attr-defined]
        if not isinstance(compiled, SQLCompiler):
            raise TypeError(type(compiled).__name__)
        constants = {key: value for key, value in compiled.params.items() if value is not None}
        order = compiled.positiontup if compiled.positional else None
        return str(compiled), constants, None if order is None else tuple(order)
