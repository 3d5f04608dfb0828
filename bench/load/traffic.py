"""What is sent: signed events, encoded and masked before any clock runs."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from bench.load.websocket import masked
from bunker_core.event import Event, EventTemplate, sign_event
from bunker_core.keys import SecretKey

CONTENT: Final = 300  # characters of base64: a sign_event request of a short note
_BASE64: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


@dataclass(frozen=True, slots=True)
class Shot:
    """An event that is ready to be sent."""

    event_id: str
    frame: bytes


class Traffic:
    """Makes events; `seed` makes their contents repeatable, `now` is their date (Unix seconds)."""

    def __init__(self, now: int, seed: int = 1) -> None:
        self.now = now
        self._random = random.Random(seed)

    def keys(self, count: int) -> list[SecretKey]:
        """Return fresh keys."""
        return [SecretKey(self._random.randbytes(32)) for _ in range(count)]

    def request(self, author: SecretKey, recipient: str) -> Shot:
        """Return a kind 24133 event, its content as long as a short request's."""
        return shot(self.event(author, 24133, (("p", recipient),)))

    def bulk(self, author: SecretKey, recipient: str, size: int) -> Shot:
        """Return a kind 24133 event with `size` characters of content."""
        content = "".join(self._random.choices(_BASE64, k=64)) + "x" * (size - 64)
        return shot(
            sign_event(EventTemplate(24133, content, (("p", recipient),), self.now), author)
        )

    def note(self, author: SecretKey, tags: tuple[tuple[str, ...], ...] = ()) -> Shot:
        """Return a kind 1 event, which relays store."""
        return shot(self.event(author, 1, tags))

    def event(self, author: SecretKey, kind: int, tags: tuple[tuple[str, ...], ...]) -> Event:
        """Return a signed event with random content."""
        content = "".join(self._random.choices(_BASE64, k=CONTENT))
        return sign_event(EventTemplate(kind, content, tags, self.now), author)


def shot(event: Event) -> Shot:
    """Return `event` ready to be sent."""
    return Shot(event.id, masked(b'["EVENT",' + event.to_json() + b"]"))


def broken(good: Event) -> Shot:
    """Return `good` with one bit of its signature turned over."""
    last = "0" if good.sig[-1] != "0" else "1"
    forged = Event(
        good.id,
        good.pubkey,
        good.created_at,
        good.kind,
        good.tags,
        good.content,
        good.sig[:-1] + last,
    )
    return shot(forged)


def subscribe(subscription_id: str, *filters: dict[str, object]) -> bytes:
    """Return a REQ, ready to be sent."""
    return masked(orjson.dumps(["REQ", subscription_id, *filters]))


def addressed_to(pubkeys: Sequence[str]) -> dict[str, object]:
    """Return the filter that a remote signer or its client subscribes with."""
    return {"kinds": [24133], "#p": list(pubkeys)}
