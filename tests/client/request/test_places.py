"""How many requests of one client are on the way at a time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from bunker_client import RemoteSigner
from bunker_client.errors import RequestTimeout
from bunker_client.request.places import AT_ONCE
from support.scripted import Asked, ScriptedSigner, scripted_relay, scripted_signer

MORE = 3


@asynccontextmanager
async def asking(
    response: Callable[[Asked], Iterable[Any]],
) -> AsyncIterator[tuple[ScriptedSigner, RemoteSigner, list[Asked], list[asyncio.Task[Any]]]]:
    """Have MORE signatures asked for than may be on the way; `response` is what the signer says."""
    held: list[Asked] = []

    def answer(asked: Asked) -> Iterable[Any]:
        if asked.method != "sign_event":
            return [signer.good(asked)]
        held.append(asked)
        return response(asked)

    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        signer.answer = answer
        async with RemoteSigner.from_uri(signer.uri) as app:
            calls = [
                asyncio.create_task(app.sign_event({"kind": 1, "content": f"{number}"}))
                for number in range(AT_ONCE + MORE)
            ]
            yield signer, app, held, calls
            signer.answer = None
            while not all(call.done() for call in calls):
                while held:
                    asked = held.pop()
                    await signer.send(asked.client, signer.good(asked))
                await app.ping()
            await asyncio.gather(*calls)


async def arrived(app: RemoteSigner, held: list[Asked], count: int) -> int:
    """Wait until the signer holds `count`, and until what was sent with them is there too."""
    async with asyncio.timeout(10):
        while len(held) < count:
            await app.ping()
        await app.ping()
    return len(held)


async def test_no_more_than_at_once_are_on_the_way() -> None:
    """The next one leaves when one is answered; a ping does not wait for a place."""
    async with asking(lambda _: ()) as (signer, app, held, _):
        assert await arrived(app, held, AT_ONCE) == AT_ONCE
        first = held.pop(0)
        await signer.send(first.client, signer.good(first))
        assert await arrived(app, held, AT_ONCE) == AT_ONCE


async def test_what_waits_for_a_person_holds_nobody_up() -> None:
    """A request that its owner looks at gives its place to the next."""
    page = "https://bunker.example/agree"
    async with asking(lambda asked: [{"id": asked.id, "result": "auth_url", "error": page}]) as (
        _,
        app,
        held,
        _,
    ):
        assert await arrived(app, held, AT_ONCE + MORE) == AT_ONCE + MORE


async def test_waiting_for_a_turn_ends_with_the_callers_time() -> None:
    """A timeout of the caller's own counts from the call, not from when it has a place."""
    async with asking(lambda _: ()) as (_, app, held, _):
        await arrived(app, held, AT_ONCE)
        with pytest.raises(RequestTimeout, match="requests before it"):
            await app.nip44_encrypt(app.user_pubkey, "hello", timeout=0.1)
