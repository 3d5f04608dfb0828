"""The body of an HTTP request, bounded in bytes and in time, whichever framework reads it."""

import asyncio
from collections.abc import AsyncIterable

from bunker_core.errors import BunkerError


class BodyRefused(BunkerError):
    """A body that is too large or too slow; `status` is the HTTP status that says so."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


async def read_body(chunks: AsyncIterable[bytes], most: int, timeout: float) -> bytes:
    """Return at most `most` bytes that arrive within `timeout` seconds; raises BodyRefused."""
    body = bytearray()
    try:
        async with asyncio.timeout(timeout):
            async for chunk in chunks:
                body += chunk
                if len(body) > most:
                    raise BodyRefused(413, "the request is too large")
    except TimeoutError:
        raise BodyRefused(408, "the request did not arrive in time") from None
    return bytes(body)
