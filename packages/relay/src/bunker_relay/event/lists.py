"""The owner's lists: pubkeys and kinds that they ban or allow while the relay runs.

They lie in a file of their own, so that they hold without the database, and when it is locked. The
commands of `bunker relay` and NIP-86 write it; a running relay notices that within a second.
"""

import ipaddress
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bunker_core.event import is_hex
from bunker_core.local.files import write_private
from bunker_core.local.locks import changing

FILE: Final = "lists.json"
PROTECTED: Final = "protected.json"  # beside it, written by the relay as it runs


class ListsError(Exception):
    """The file of lists can't be read; the text says why."""


def address(text: str) -> str:
    """Return an IP address or network in its shortest form; raises ValueError.

    An address that is in no network with others stands alone, without `/32`.
    """
    network = ipaddress.ip_network(text)
    alone = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if alone else str(network)


class Protected(ListsError):
    """A pubkey that the relay is there for can't be banned."""


class Lists:
    """Pubkeys, events and addresses, each with the reason given, and kinds."""

    def __init__(self, path: Path) -> None:
        """Read the lists at `path`; none are there before the first change. Raises ListsError."""
        self._path = path
        self.banned_pubkeys: dict[str, str] = {}
        self.allowed_pubkeys: dict[str, str] = {}
        self.banned_events: dict[str, str] = {}
        self.blocked_ips: dict[str, str] = {}  # addresses and networks
        self.allowed_kinds: set[int] = set()  # empty: all that are not disallowed
        self.disallowed_kinds: set[int] = set()
        # Pubkeys that can't be banned, and what they are.
        self.protected: Mapping[str, str] = self._noted()
        self._version: tuple[int, ...] | None = None
        self.load()

    def load(self) -> None:
        """Read the file again; raises ListsError and keeps the lists as they were."""
        self._version = self._look()
        try:
            data = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise ListsError(f"can't read {self._path}: {error}") from None
        try:
            banned = _reasons(data["banned_pubkeys"])
            allowed = _reasons(data["allowed_pubkeys"])
            kinds = {int(kind) for kind in data["allowed_kinds"]}
            disallowed = {int(kind) for kind in data["disallowed_kinds"]}
            # Not in files of earlier versions.
            banned_events = _reasons(data.get("banned_events", {}))
            blocked = {address(text): str(why) for text, why in data.get("blocked_ips", {}).items()}
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ListsError(f"{self._path} is not a file of lists; restore or remove it") from None
        self.banned_pubkeys, self.allowed_pubkeys = banned, allowed
        self.banned_events, self.blocked_ips = banned_events, blocked
        self.allowed_kinds, self.disallowed_kinds = kinds, disallowed

    def load_if_changed(self) -> bool:
        """Read the file if it is another one than last time, and tell; raises ListsError."""
        if self._look() == self._version:
            return False
        self.load()
        return True

    def ban_pubkey(self, pubkey: str, reason: str) -> None:
        """Ban a pubkey; raises Protected for one that the relay is there for."""
        if pubkey in self.protected:
            raise Protected(f"that pubkey can't be banned: it is {self.protected[pubkey]}")
        self.banned_pubkeys[pubkey] = reason

    def note_protected(self) -> None:
        """Leave word of `protected` for the commands, which do not know how the relay was started.

        One started by flags, as by `bunker up`, has its signers nowhere else. Raises ListsError.
        """
        if self._noted() == self.protected or not self._path.parent.is_dir():
            return
        path = self._path.with_name(PROTECTED)
        try:
            write_private(path, json.dumps(dict(self.protected)).encode(), replace=True)
        except OSError as error:
            raise ListsError(f"can't write {path}: {error.strerror}") from None

    def _noted(self) -> dict[str, str]:
        try:
            return _reasons(json.loads(self._path.with_name(PROTECTED).read_bytes()))
        except (OSError, ValueError, AttributeError):
            return {}  # written again when the relay starts

    def blocks(self, customer: str) -> bool:
        """Tell whether an address is blocked, as `limits.Addresses.key` names it."""
        if not self.blocked_ips or customer == "unknown":
            return False
        here = ipaddress.ip_network(customer)
        return any(here.overlaps(ipaddress.ip_network(text)) for text in self.blocked_ips)

    def block_ip(self, network: str, reason: str) -> None:
        """Block what `address` returned."""
        # Replaced, not changed: the event loop may be going through it.
        self.blocked_ips = {**self.blocked_ips, network: reason}

    def unblock_ip(self, network: str) -> None:
        """Lift what `block_ip` did."""
        self.blocked_ips = {key: why for key, why in self.blocked_ips.items() if key != network}

    @contextmanager
    def change(self) -> Iterator[None]:
        """Write the lists to disk when the block ends; all of them or, after a crash, the old.

        Other workers' changes are read first, and wait until this one is done. Raises ListsError.
        """
        with changing(self._path.parent):
            self.load()
            yield
            content = json.dumps(self.to_dict(), indent=1).encode()
            write_private(self._path, content, replace=True)
            self._version = self._look()

    def allow_kind(self, kind: int) -> None:
        """Take `kind`: lift its ban, or if it had none, take it and only what else is allowed."""
        if kind in self.disallowed_kinds:
            self.disallowed_kinds.discard(kind)
        else:
            self.allowed_kinds.add(kind)

    def disallow_kind(self, kind: int) -> None:
        """Refuse `kind` from now on."""
        self.allowed_kinds.discard(kind)
        self.disallowed_kinds.add(kind)

    def takes_kind(self, kind: int) -> bool:
        """Tell whether events of `kind` are taken."""
        if kind in self.disallowed_kinds:
            return False
        return not self.allowed_kinds or kind in self.allowed_kinds

    def _look(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return (found.st_ino, found.st_mtime_ns, found.st_size)

    def to_dict(self) -> dict[str, Any]:
        """Return all lists, as they stand in the file."""
        return {
            "banned_pubkeys": self.banned_pubkeys,
            "allowed_pubkeys": self.allowed_pubkeys,
            "banned_events": self.banned_events,
            "blocked_ips": self.blocked_ips,
            "allowed_kinds": sorted(self.allowed_kinds),
            "disallowed_kinds": sorted(self.disallowed_kinds),
        }


def _reasons(value: Any) -> dict[str, str]:
    if not all(is_hex(key, 64) and isinstance(reason, str) for key, reason in value.items()):
        raise ValueError
    return dict(value)
