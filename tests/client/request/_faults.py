"""A relay, a signer and an app for what goes wrong between them, and what came of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from bunker_client import RemoteSigner
from bunker_client.errors import ClientError
from support.scripted import ScriptedRelay, ScriptedSigner, scripted_relay, scripted_signer

NOTE = {"kind": 1, "content": "hello", "created_at": 1_700_000_000}
MACHINE = 1.0  # seconds for a round trip in these tests
HUMAN = 2.0  # seconds for an approval
SLACK = 2.0  # seconds that a busy machine may be late
NEVER = 30.0  # seconds; whatever takes that long hangs
ROWS: list[tuple[str, str, float]] = []


@dataclass
class World:
    """A relay, a signer on it and an app that is connected to both."""

    relay: ScriptedRelay
    signer: ScriptedSigner
    app: RemoteSigner


@asynccontextmanager
async def world(offline: float | None = None, machine: float = MACHINE) -> AsyncIterator[World]:
    """Run the three; `machine` is the app's deadline in seconds."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        app = RemoteSigner.from_uri(
            signer.uri, timeout=NEVER, approval_timeout=HUMAN, offline_timeout=offline
        )
        async with app:  # a busy machine may pair slowly; the deadline is the request's
            await app.relays_checked(NEVER)
            app._link.patience = replace(app._link.patience, machine=machine)
            yield World(relay, signer, app)


async def outcome(fault: str, request: Awaitable[Any]) -> str:
    """Return how a request ended, in one word, and note it in the table."""
    start = time.monotonic()
    try:
        async with asyncio.timeout(NEVER):
            await request
    except ClientError as error:
        word = type(error).__name__
    else:
        word = "signed"
    ROWS.append((fault, word, time.monotonic() - start))
    return word


def took() -> float:
    """Return the seconds that the last one took."""
    return ROWS[-1][2]
