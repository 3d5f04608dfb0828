"""What the request path need not look up again: clients, their grants, the audit log's end.

It is held beside the one connection that writes for requests, is filled by what that connection
reads, and is compared with the database in every transaction before it is believed: what another
connection or process has committed since, such as a client that was revoked, drops all of it. What
the connection changes itself drops what it is about.
"""

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection

from bunker_core.bounds.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable

    from bunker_signer.policy import Grant
    from bunker_signer.store.clients import Client

CLIENTS: Final = 4096  # held at most, each with its grants; some kilobytes for one
_INFO: Final = "bunker.cache"  # in the info of a connection


class Cache:
    """The cache of one connection; that of a server other than SQLite lasts one transaction."""

    __slots__ = ("_version", "audit_end", "before_commit", "clients", "grants")

    def __init__(self) -> None:
        self._version = 0
        self.forget()

    def attach(self, connection: Connection) -> None:
        """Have `of` find this for a connection that was opened just now."""
        connection.info[_INFO] = self
        self.forget()

    def detach(self, connection: Connection) -> None:
        """End that, before the connection is somebody else's."""
        connection.info.pop(_INFO, None)
        self.forget()

    def forget(self) -> None:
        """Drop everything: it was changed elsewhere, or a transaction was rolled back."""
        self.clients: Recent[Client] = Recent(CLIENTS)
        self.grants: Recent[tuple[Grant, ...]] = Recent(CLIENTS)
        self.audit_end: tuple[int, str] | None = None  # seq and hash of the last entry
        self.before_commit: Callable[[Connection], None] | None = None

    def settle(self, connection: Connection) -> None:
        """Write, at the end of a transaction, what all of its steps left to be written once."""
        write, self.before_commit = self.before_commit, None
        if write is not None:
            write(connection)

    def compare(self, connection: Connection) -> None:
        """Drop everything that may be out of date, before a read or as a transaction begins."""
        if connection.dialect.name != "sqlite":
            # PostgreSQL has no cheap word for "nobody else has written", so it is asked each time.
            self.forget()
            return
        # It changes when another connection has committed. A transaction that writes has the only
        # right to do so from its beginning: within it the number stays as it is.
        driver: Any = connection.connection.dbapi_connection
        (version,) = driver.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._version = version
            self.forget()


def of(connection: Connection) -> Cache | None:
    """Return the cache of a connection, None if it has to ask each time."""
    cache: Cache | None = connection.info.get(_INFO)
    return cache


def name(key_name: str, client_pubkey: str) -> str:
    """Return how a key's client is called here."""
    return f"{key_name}:{client_pubkey}"


def forget_client(connection: Connection, key_name: str, client_pubkey: str) -> None:
    """Drop what is held of a client that is changed by this connection."""
    cache = of(connection)
    if cache is not None:
        cache.clients.pop(name(key_name, client_pubkey))
        cache.grants.pop(name(key_name, client_pubkey))


def forget_grants(connection: Connection) -> None:
    """Drop all grants: one of them is changed by this connection, and it is not said whose."""
    cache = of(connection)
    if cache is not None:
        cache.grants = Recent(CLIENTS)
