"""Whom to wake where: push subscriptions and our own key, on disk; never an event."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec

from bunker_core.errors import BunkerError, InvalidInput
from bunker_core.local.files import write_private
from bunker_core.nips import webpush

MAX_OF_SIGNER: Final = 4  # browsers of one signer; a further one takes the oldest's place
MAX_SIGNERS: Final = 64
SEEN: Final = 60  # seconds; that a signer was here is written down no finer
_FILE: Final = "push.json"
_KEY_FILE: Final = "push.key"


class InvalidSubscription(BunkerError):
    """What a browser can't have said, or what we do not send to."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """Where one browser is woken. Times are Unix seconds; `outcome` is of the latest push.

    `seen_at` is when its signer was last here, in whichever of its browsers.
    """

    endpoint: str
    p256dh: str
    auth: str
    registered_at: int
    pushed_at: int | None = None
    outcome: str = ""
    seen_at: int | None = None

    def __repr__(self) -> str:  # whoever has the endpoint can bother its owner
        return f"Subscription({urlsplit(self.endpoint).hostname!r})"


def parse_subscription(value: object, now: int, *, private: bool) -> Subscription:
    """Read `PushSubscription.toJSON()`; raises InvalidSubscription.

    `private` lets the push service be on this machine or without TLS.
    """
    try:
        endpoint, keys = value["endpoint"], value["keys"]  # type: ignore[index]
        p256dh, auth = keys["p256dh"], keys["auth"]
    except (KeyError, TypeError, IndexError):
        raise InvalidSubscription("not a push subscription") from None
    try:
        webpush.parse_target(endpoint, p256dh, auth, plain=private)
    except InvalidInput as error:
        raise InvalidSubscription(str(error)) from None
    return Subscription(endpoint, p256dh, auth, now)


class Subscriptions:
    """The list, read again when another process of this relay changed it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / _FILE
        self._key_file = folder / _KEY_FILE
        self._seen: tuple[int, int] | None = None
        self._by_signer: dict[str, tuple[Subscription, ...]] = {}
        self._key: ec.EllipticCurvePrivateKey | None = None

    @property
    def key(self) -> ec.EllipticCurvePrivateKey:
        """Our key towards push services, made when it is first needed; raises OSError."""
        if self._key is None:
            try:
                self._key = webpush.new_key(int(self._key_file.read_text(), 16))
            except FileNotFoundError:
                key = webpush.new_key()
                secret = f"{key.private_numbers().private_value:064x}\n"
                write_private(self._key_file, secret.encode(), replace=False)
                self._key = key
        return self._key

    def of(self, signer: str) -> tuple[Subscription, ...]:
        """Return where a signer is woken."""
        self._refresh()
        return self._by_signer.get(signer, ())

    def add(self, signer: str, subscription: Subscription) -> None:
        """Keep a subscription; raises InvalidSubscription, OSError."""
        self._refresh()
        if signer not in self._by_signer and len(self._by_signer) >= MAX_SIGNERS:
            raise InvalidSubscription(f"more than {MAX_SIGNERS} signers want to be woken")
        others = [item for item in self.of(signer) if item.endpoint != subscription.endpoint]
        self._put(signer, [*others, subscription][-MAX_OF_SIGNER:])

    def remove(self, signer: str, endpoint: str | None = None) -> None:
        """Forget a browser of a signer, or all of them; raises OSError."""
        left = [item for item in self.of(signer) if endpoint not in (None, item.endpoint)]
        self._put(signer, left)

    def note(self, signer: str, endpoint: str, now: int, outcome: str) -> None:
        """Remember what became of a push."""
        changed = [
            replace(item, pushed_at=now, outcome=outcome) if item.endpoint == endpoint else item
            for item in self.of(signer)
        ]
        with suppress(OSError):  # a full disk wakes signers all the same
            self._put(signer, changed)

    def seen(self, signer: str, now: int) -> None:
        """Remember that a signer who can be woken has come."""
        found = self.of(signer)
        if all(item.seen_at is not None and now < item.seen_at + SEEN for item in found):
            return
        with suppress(OSError):
            self._put(signer, [replace(item, seen_at=now) for item in found])

    def _put(self, signer: str, subscriptions: Sequence[Subscription]) -> None:
        self._by_signer[signer] = tuple(subscriptions)
        if not subscriptions:
            del self._by_signer[signer]
        stored = {name: [asdict(item) for item in items] for name, items in self._by_signer.items()}
        write_private(self._file, json.dumps(stored).encode(), replace=True)
        self._seen = self._stamp()

    def _refresh(self) -> None:
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            stored: Any = json.loads(self._file.read_text())
            self._by_signer = {
                signer: tuple(Subscription(**item) for item in items)
                for signer, items in stored.items()
            }
        except (OSError, ValueError, TypeError, AttributeError):
            self._by_signer = {}  # gone or damaged: browsers register again when they are open

    def _stamp(self) -> tuple[int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino
