"""Who may use the console: bound devices, the links that bind one, passkeys.

A file of its own beside the signer's database: it is about this one page, and `bunker signer
devices` looks at it without a signer. Tokens lie in it only as their SHA-256, so that whoever reads
the file can't come in.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    event,
    insert,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError

from bunker_core.errors import BunkerError

FILE_NAME: Final = "console.sqlite3"  # in the data directory
LINK_LIFETIME: Final = 10 * 60  # seconds: long enough to find the phone
CODE_TRIES: Final = 5  # wrong ones, after which a code is worth nothing
DEVICE_LIFETIME: Final = 90 * 24 * 3600  # seconds without a visit after which a device is unbound
MAX_DEVICES: Final = 50
_CONFIRM: Final = "confirm"
_DANGERS: Final = "dangers"
# Without those that are taken for one another.
_CODE_LETTERS: Final = "ABCDEFGHJKMNPQRSTVWXYZ23456789"
_TOUCH_EVERY: Final = 60  # seconds: a visit is noted no more often than that

metadata: Final = MetaData()

links: Final = Table(
    "links",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("created_at", Integer, nullable=False),
)
devices: Final = Table(
    "devices",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("name", String, nullable=False),
    Column("bound_at", Integer, nullable=False),
    Column("seen_at", Integer, nullable=False),
)
passkeys: Final = Table(
    "passkeys",
    metadata,
    Column("credential_id", LargeBinary, primary_key=True),
    Column("public_key", LargeBinary, nullable=False),
    Column("sign_count", Integer, nullable=False),
    Column("name", String, nullable=False),
    Column("created_at", Integer, nullable=False),
)
# What the command line shows and a bound device types in: it is the owner who sits at both.
codes: Final = Table(
    "codes",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("created_at", Integer, nullable=False),
    Column("wrong", Integer, nullable=False),
)
# Where a device can be woken (RFC 8030), and how much the message may say.
pushes: Final = Table(
    "pushes",
    metadata,
    Column("device_id", String(16), primary_key=True),
    Column("endpoint", String, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("detail", Integer, nullable=False),
    Column("language", String(8), nullable=False),
)
choices: Final = Table(
    "choices",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
)


class AccountsError(BunkerError):
    """The console's database can't be read or written."""


@dataclass(frozen=True, slots=True)
class Device:
    """A browser that was let in. Times are Unix seconds."""

    id: str
    name: str
    bound_at: int
    seen_at: int


@dataclass(frozen=True, slots=True)
class Passkey:
    """A public key that can log in, and approve if the owner wants that."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    name: str
    created_at: int


@dataclass(frozen=True, slots=True)
class PushChoice:
    """Where and how a device wants to be woken; `detail` is whether app and kind are shown."""

    endpoint: str
    key: bytes
    secret: bytes
    detail: bool
    language: str


class Accounts:
    """The console's database. Each method is one transaction; all raise AccountsError."""

    def __init__(self, path: Path) -> None:
        self._engine = create_engine(f"sqlite:///{path}")
        event.listen(self._engine, "connect", _configure)
        try:
            metadata.create_all(self._engine)
            path.chmod(0o600)
        except (SQLAlchemyError, OSError):
            self._engine.dispose()
            raise AccountsError(f"{path} can't be used") from None

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    # Links.

    def new_link(self, now: int) -> str:
        """Return a token that binds one device, once, within LINK_LIFETIME."""
        token = secrets.token_urlsafe(24)
        with self._transaction() as connection:
            connection.execute(delete(links).where(links.c.created_at < now - LINK_LIFETIME))
            connection.execute(insert(links).values(digest=_digest(token), created_at=now))
        return token

    def link_works(self, token: str, now: int) -> bool:
        """Tell whether a link is good still; looking at it does not use it up."""
        with self._transaction() as connection:
            return connection.scalar(select(links.c.digest).where(_good(token, now))) is not None

    def bind(self, token: str, name: str, now: int) -> str | None:
        """Spend a link on a new device; return the device's own token, or None."""
        with self._transaction() as connection:
            if connection.execute(delete(links).where(_good(token, now))).rowcount != 1:
                return None
            return _add_device(connection, name, now)

    def new_code(self, now: int) -> str:
        """Return a code that proves, once and within LINK_LIFETIME, who sits at the machine.

        It replaces the one before.
        """
        code = "".join(secrets.choice(_CODE_LETTERS) for _ in range(10))
        with self._transaction() as connection:
            connection.execute(delete(codes))
            row = {"digest": _digest(code), "created_at": now, "wrong": 0}
            connection.execute(insert(codes).values(row))
        return f"{code[:5]}-{code[5:]}"

    def use_code(self, code: str, now: int) -> bool:
        """Spend a code; return whether it was the one. CODE_TRIES wrong ones spend it, too."""
        given = "".join(filter(str.isalnum, code.upper()))
        good = (codes.c.digest == _digest(given)) & (codes.c.created_at >= now - LINK_LIFETIME)
        with self._transaction() as connection:
            if connection.execute(delete(codes).where(good)).rowcount == 1:
                return True
            connection.execute(update(codes).values(wrong=codes.c.wrong + 1))
            connection.execute(delete(codes).where(codes.c.wrong >= CODE_TRIES))
        return False

    def empty(self) -> tuple[int, int]:
        """Forget everybody: devices, links, codes, passkeys, choices; return how many of each.

        The first number is of devices, the second of passkeys.
        """
        with self._transaction() as connection:
            gone = [connection.execute(delete(table)).rowcount for table in (devices, passkeys)]
            for table in (links, codes, pushes):
                connection.execute(delete(table))
            connection.execute(delete(choices).where(choices.c.name.in_((_CONFIRM, _DANGERS))))
        return gone[0], gone[1]

    # Devices.

    def add_device(self, name: str, now: int) -> str:
        """Bind a device that has shown a passkey; return its token."""
        with self._transaction() as connection:
            return _add_device(connection, name, now)

    def device(self, token: str, now: int) -> Device | None:
        """Return the device that holds `token`, and note the visit."""
        known = (devices.c.digest == _digest(token)) & (devices.c.seen_at > now - DEVICE_LIFETIME)
        with self._transaction() as connection:
            row = connection.execute(select(devices).where(known)).first()
            if row is not None and row.seen_at < now - _TOUCH_EVERY:
                connection.execute(update(devices).where(known).values(seen_at=now))
        return None if row is None else _device(row)

    def devices(self) -> tuple[Device, ...]:
        """Return all bound devices, the oldest first."""
        with self._transaction() as connection:
            rows = connection.execute(select(devices).order_by(devices.c.bound_at)).all()
        return tuple(map(_device, rows))

    def unbind(self, device_id: str) -> bool:
        """Lock a device out; return whether there was one."""
        with self._transaction() as connection:
            gone = connection.execute(delete(devices).where(devices.c.id == device_id))
            connection.execute(delete(pushes).where(pushes.c.device_id == device_id))
        return gone.rowcount == 1

    # Waking devices.

    def set_push(self, device_id: str, choice: PushChoice) -> None:
        """Remember where a device can be woken; one place for each."""
        row = {name: getattr(choice, name) for name in PushChoice.__slots__}
        with self._transaction() as connection:
            connection.execute(delete(pushes).where(pushes.c.device_id == device_id))
            # The same browser, bound a second time, is woken once.
            connection.execute(delete(pushes).where(pushes.c.endpoint == choice.endpoint))
            connection.execute(insert(pushes).values(device_id=device_id, **row))

    def forget_push(self, device_id: str) -> bool:
        """Wake a device no more; return whether it was to be."""
        with self._transaction() as connection:
            gone = connection.execute(delete(pushes).where(pushes.c.device_id == device_id))
        return gone.rowcount == 1

    def pushes(self) -> list[tuple[str, PushChoice]]:
        """Return where bound devices can be woken, by the device's id."""
        query = select(pushes).where(pushes.c.device_id.in_(select(devices.c.id)))
        with self._transaction() as connection:
            rows = connection.execute(query).all()
        return [
            (row[0], PushChoice(row[1], row[2], row[3], bool(row[4]), str(row[5]))) for row in rows
        ]

    # Passkeys.

    def add_passkey(self, passkey: Passkey) -> None:
        """Remember a passkey."""
        row = {name: getattr(passkey, name) for name in Passkey.__slots__}
        with self._transaction() as connection:
            connection.execute(insert(passkeys).values(row))

    def passkeys(self) -> tuple[Passkey, ...]:
        """Return all passkeys, the oldest first."""
        with self._transaction() as connection:
            rows = connection.execute(select(passkeys).order_by(passkeys.c.created_at)).all()
        return tuple(Passkey(**row._mapping) for row in rows)

    def use_passkey(self, credential_id: bytes, sign_count: int) -> None:
        """Note the counter of a passkey that was used."""
        known = passkeys.c.credential_id == credential_id
        with self._transaction() as connection:
            connection.execute(update(passkeys).where(known).values(sign_count=sign_count))

    def remove_passkey(self, credential_id: bytes) -> bool:
        """Forget a passkey; without any, none can be asked for any more."""
        with self._transaction() as connection:
            known = passkeys.c.credential_id == credential_id
            gone = connection.execute(delete(passkeys).where(known)).rowcount == 1
            if connection.scalar(select(passkeys.c.credential_id)) is None:
                connection.execute(delete(choices).where(choices.c.name.in_((_CONFIRM, _DANGERS))))
        return gone

    # What the owner chose.

    @property
    def confirm(self) -> bool:
        """Whether what lets an app do something needs a passkey each time."""
        return self.recall(_CONFIRM) == "yes"

    def set_confirm(self, wanted: bool) -> None:
        """Choose whether a passkey is asked for."""
        self.remember(_CONFIRM, "yes" if wanted else "no")

    @property
    def guard_dangers(self) -> bool:
        """Whether to allow what is dangerous needs a passkey, though other answers do not."""
        return self.recall(_DANGERS) == "yes"

    def set_guard_dangers(self, wanted: bool) -> None:
        """Choose whether a passkey is asked for what is dangerous."""
        self.remember(_DANGERS, "yes" if wanted else "no")

    # What `bunker signer console` has to know.

    def remember(self, name: str, value: str) -> None:
        """Keep a text under `name`."""
        with self._transaction() as connection:
            connection.execute(delete(choices).where(choices.c.name == name))
            connection.execute(insert(choices).values(name=name, value=value))

    def recall(self, name: str) -> str:
        """Return what `remember` kept, or ""."""
        with self._transaction() as connection:
            value = connection.scalar(select(choices.c.value).where(choices.c.name == name))
        return str(value or "")

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise AccountsError(f"the console's database failed: {type(error).__name__}") from None


def _good(token: str, now: int) -> Any:
    return (links.c.digest == _digest(token)) & (links.c.created_at >= now - LINK_LIFETIME)


def _add_device(connection: Connection, name: str, now: int) -> str:
    connection.execute(delete(devices).where(devices.c.seen_at <= now - DEVICE_LIFETIME))
    if len(connection.execute(select(devices.c.id)).all()) >= MAX_DEVICES:
        raise AccountsError(f"{MAX_DEVICES} devices are bound already")
    token = secrets.token_urlsafe(32)
    row = {
        "id": secrets.token_hex(8),
        "digest": _digest(token),
        "name": name,
        "bound_at": now,
        "seen_at": now,
    }
    connection.execute(insert(devices).values(row))
    return token


def _device(row: Any) -> Device:
    return Device(row.id, row.name, row.bound_at, row.seen_at)


def _digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


def _configure(connection: Any, _record: Any) -> None:
    # WAL lets `bunker signer console` make a link beside a running signer.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000"):
        connection.execute(f"PRAGMA {pragma}")
