"""Which phones are signers of this relay, and the one-time links by which one becomes it."""

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from bunker_core.errors import BunkerError
from bunker_core.event import is_hex
from bunker_core.local.files import write_private

LIFETIME: Final = 30 * 60  # seconds that a link is good for
MAX_PHONES: Final = 16
MAX_LINKS: Final = 16
MAX_NAME: Final = 64  # characters
_FILE: Final = "phones.json"


class TooMany(BunkerError):
    """There are as many phones as one relay takes."""

    def __str__(self) -> str:
        return f"{MAX_PHONES} phones have joined already: `bunker phone remove` makes room"


@dataclass(frozen=True, slots=True)
class Phone:
    """A phone that joined: the pubkey of its transport key, and what its owner calls it."""

    pubkey: str
    name: str
    joined_at: int  # Unix seconds


class Phones:
    """The list, in one private file; every change is on disk before it counts."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = folder / _FILE
        self._clock = clock

    def all(self) -> tuple[Phone, ...]:
        """Return those that joined, the oldest first; raises BunkerError for a damaged file."""
        return tuple(
            Phone(pubkey, row["name"], row["joined_at"])
            for pubkey, row in self._read()["phones"].items()
        )

    def new_link(self) -> str:
        """Return a token that lets one phone join, once, within LIFETIME."""
        state = self._read()
        token = secrets.token_urlsafe(16)
        links = self._live(state)
        while len(links) >= MAX_LINKS:
            del links[min(links, key=links.__getitem__)]
        links[_digest(token)] = int(self._clock()) + LIFETIME
        self._write({**state, "links": links})
        return token

    def join(self, token: str, pubkey: str, name: str) -> bool:
        """Use a token for the phone with `pubkey`; return whether it was good. Raises TooMany."""
        if not is_hex(pubkey, 64):
            return False
        state = self._read()
        links = self._live(state)
        if links.pop(_digest(token), None) is None:
            return False
        phones = state["phones"]
        if pubkey not in phones and len(phones) >= MAX_PHONES:
            raise TooMany
        shown = "".join(filter(str.isprintable, name))[:MAX_NAME] or "phone"
        phones[pubkey] = {"name": shown, "joined_at": int(self._clock())}
        self._write({"phones": phones, "links": links})
        return True

    def remove(self, pubkey: str) -> bool:
        """Let a phone be no signer any more; return whether it was one."""
        state = self._read()
        if state["phones"].pop(pubkey, None) is None:
            return False
        self._write(state)
        return True

    def _live(self, state: dict[str, Any]) -> dict[str, int]:
        now = self._clock()
        return {digest: until for digest, until in state["links"].items() if until > now}

    def _read(self) -> dict[str, Any]:
        try:
            state: Any = json.loads(self.path.read_text())
        except FileNotFoundError:
            return {"phones": {}, "links": {}}
        except (OSError, ValueError) as error:
            raise BunkerError(f"can't read {self.path}: {error}") from None
        if not isinstance(state, dict) or state.keys() != {"phones", "links"}:
            raise BunkerError(f"{self.path} is damaged: remove it, and let the phones join again")
        return state

    def _write(self, state: dict[str, Any]) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self.path, json.dumps(state).encode(), replace=True)


def _digest(token: str) -> str:
    """Look-ups are by SHA-256: their time tells nothing about a token that is nearly right."""
    return sha256(token.encode()).hexdigest()
