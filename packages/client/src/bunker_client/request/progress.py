"""Where a request stands, for a program to show to a person."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum
from weakref import WeakSet


class Step(Enum):
    """How far a request has come."""

    QUEUED = "queued"  # no relay is connected
    SENT = "sent"  # a relay has it, or is about to
    REFUSED = "refused"  # no relay takes it for now
    SIGNER_OFFLINE = "signer offline"  # a relay has it, and nobody is listening
    SIGNER_WOKEN = "signer woken"  # it sleeps on a phone, which was told that it is asked
    DELIVERED = "delivered"  # a relay has passed it on
    WAITING_FOR_APPROVAL = "waiting for approval"  # the signer is there and has not answered
    LOCKED = "locked"  # the signer is there, and its key is locked
    ANSWERED = "answered"
    FAILED = "failed"


_SENTENCES = {
    Step.QUEUED: "waiting for a relay",
    Step.SENT: "sent, not yet acknowledged",
    Step.REFUSED: "no relay takes it, trying again",
    Step.SIGNER_OFFLINE: "the signer is offline, trying again",
    Step.SIGNER_WOKEN: "woken, waiting for you on your phone",
    Step.DELIVERED: "delivered to the signer",
    Step.WAITING_FOR_APPROVAL: "waiting for you to approve it at your signer",
    Step.LOCKED: "the key is locked, waiting for you to unlock it at your signer",
    Step.ANSWERED: "answered",
    Step.FAILED: "failed",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of one request."""

    request_id: str
    method: str
    step: Step
    auth_url: str | None = None  # the page where the owner is asked to agree

    def __str__(self) -> str:
        where = f": {self.auth_url}" if self.auth_url else ""
        return f"{self.method}: {_SENTENCES[self.step]}{where}"


class Watchers:
    """Whoever reads the steps of all requests, each in an iterator of their own.

    One that nobody reads any more does not gather steps: it is held by its reader alone.
    """

    def __init__(self) -> None:
        self._queues: WeakSet[asyncio.Queue[Progress | None]] = WeakSet()

    def __bool__(self) -> bool:
        return bool(self._queues)

    def watch(self) -> AsyncIterator[Progress]:
        """Return an iterator of each step from now on, until the end."""
        queue: asyncio.Queue[Progress | None] = asyncio.Queue()
        self._queues.add(queue)
        return _read(queue)

    def tell(self, progress: Progress) -> None:
        """Let all have a step."""
        for queue in self._queues:
            queue.put_nowait(progress)

    def end(self) -> None:
        """End all iterators."""
        for queue in self._queues:
            queue.put_nowait(None)


async def _read(queue: asyncio.Queue[Progress | None]) -> AsyncIterator[Progress]:
    while (progress := await queue.get()) is not None:
        yield progress
