"""Replies that no relay has delivered yet, in bounded memory."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from bunker_signer.request.reply import Reply

# What an app that does not listen can have waiting. Beyond it its oldest is given up, and beyond
# the whole the oldest of who has most: they are in the journal, and asked again they are answered.
EACH: Final = 512
EACH_BYTES: Final = 4 * 1024 * 1024
ALL: Final = 4096
ALL_BYTES: Final = 32 * 1024 * 1024


@dataclass(slots=True, eq=False)
class Parked:
    """A reply that is kept, and what wakes who tries it."""

    reply: Reply
    since: float
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    retrying: bool = False  # it is tried again, where others of its client wait for that

    @property
    def name(self) -> str:
        """What tells it from the client's others."""
        return f"{self.reply.response.id}:{self.reply.digest}"

    @property
    def size(self) -> int:
        """Its bytes, nearly."""
        return 512 + len(self.reply.response.result or "") + len(self.reply.sealed)


class ParkingLot:
    """Keeps replies by client, the oldest first."""

    def __init__(self, each: int = EACH, total: int = ALL) -> None:
        self._each = each
        self._total = total
        self._by_client: dict[str, dict[str, Parked]] = {}
        self._bytes: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(map(len, self._by_client.values()))

    def put(self, parked: Parked) -> list[Parked]:
        """Keep a reply; return what is given up for it: one of its name, and what is too much."""
        client = parked.reply.client_pubkey
        kept = self._by_client.setdefault(client, {})
        gone = [kept[parked.name]] if parked.name in kept else []
        for item in gone:
            self.drop(item)
        self._by_client.setdefault(client, kept)[parked.name] = parked
        self._bytes[client] += parked.size
        while len(kept) > self._each or self._bytes[client] > EACH_BYTES:
            gone.append(self._drop_oldest(client))
        while len(self) > self._total or self._bytes.total() > ALL_BYTES:
            most = max(self._by_client, key=lambda item: len(self._by_client[item]))
            gone.append(self._drop_oldest(most))
        return gone

    def drop(self, parked: Parked) -> None:
        """Let a reply go, if it is there still."""
        client = parked.reply.client_pubkey
        kept = self._by_client.get(client, {})
        if kept.get(parked.name) is not parked:
            return
        del kept[parked.name]
        self._bytes[client] -= parked.size
        if not kept:
            del self._by_client[client], self._bytes[client]

    def of(self, client: str) -> list[Parked]:
        """Return what waits for one client."""
        return list(self._by_client.get(client, {}).values())

    def next_of(self, client: str) -> Parked | None:
        """Return the one of a client's to try: the oldest, of those retrying if there are any."""
        kept = self._by_client.get(client, {}).values()
        return next((item for item in kept if item.retrying), next(iter(kept), None))

    def next_of_each(self) -> list[Parked]:
        """Return the one to try of every client."""
        return [item for client in self._by_client if (item := self.next_of(client))]

    def _drop_oldest(self, client: str) -> Parked:
        oldest = next(iter(self._by_client[client].values()))
        self.drop(oldest)
        return oldest
