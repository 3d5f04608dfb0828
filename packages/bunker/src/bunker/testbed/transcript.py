"""What crossed the relay, decrypted: for tests alone."""

import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any


class Direction(Enum):
    """Which way a message went."""

    REQUEST = "request"
    RESPONSE = "response"


@dataclass(frozen=True, slots=True)
class Entry:
    """One message between a client and a signer, as it was meant to go.

    `method` and `params` are those of the request, in its response too. `fault` names what was
    done to the message, "" if nothing. `at` is Unix seconds.
    """

    at: float
    direction: Direction
    client_pubkey: str
    remote_signer_pubkey: str
    event_id: str
    scheme: str  # nip44 or nip04
    id: str | int
    method: str
    params: tuple[Any, ...]
    result: str | None = None
    error: str | None = None
    fault: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as JSON has it."""
        return {**asdict(self), "direction": self.direction.value}


class Transcript:
    """The messages so far, in the order of their crossing. Filled by the signers' thread."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._added = threading.Condition()

    def __iter__(self) -> Iterator[Entry]:
        with self._added:
            return iter(tuple(self._entries))

    def __len__(self) -> int:
        with self._added:
            return len(self._entries)

    def requests(self, method: str | None = None) -> list[Entry]:
        """Return the requests, of one method or of all."""
        return self._select(Direction.REQUEST, method)

    def responses(self, method: str | None = None) -> list[Entry]:
        """Return the responses, to one method or to all."""
        return self._select(Direction.RESPONSE, method)

    def wait_for(self, method: str, count: int = 1, timeout: float = 10.0) -> list[Entry]:
        """Return the requests of `method` once there are `count`; raises TimeoutError."""
        with self._added:
            if not self._added.wait_for(lambda: len(self.requests(method)) >= count, timeout):
                raise TimeoutError(f"{len(self.requests(method))} of {count} requests: {method}")
            return self.requests(method)

    def add(self, entry: Entry) -> None:
        """Append one message."""
        with self._added:
            self._entries.append(entry)
            self._added.notify_all()

    def clear(self) -> None:
        """Forget all messages."""
        with self._added:
            self._entries.clear()

    def _select(self, direction: Direction, method: str | None) -> list[Entry]:
        return [
            entry
            for entry in self
            if entry.direction is direction and method in (None, entry.method)
        ]
