"""A connection to PostgreSQL that does not wait for ever."""

from typing import Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.rows import TupleRow

_T = TypeVar("_T")


class Impatient(psycopg.Connection[TupleRow]):
    """Closes itself when an answer takes longer than `patience` (seconds; None is for ever).

    A stopped server, or a proxy before one that is gone, takes connections and bytes: neither TCP
    nor a timeout that the server has to keep ends such a wait.
    """

    patience: float | None = None

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait as psycopg does; raises OperationalError when the patience is over."""
        try:
            return super().wait(gen, interval, self.patience if timeout is None else timeout)
        except errors._WaitTimeout:
            self.pgconn.finish()  # whatever is still to come belongs to no statement of ours
            raise psycopg.OperationalError("the server does not answer") from None


def connect(patience: float | None, **options: Any) -> Impatient:
    """Return a connection; raises psycopg.Error."""
    connection = Impatient.connect(**options)
    connection.patience = patience
    return connection
