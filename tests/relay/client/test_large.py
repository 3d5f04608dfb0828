"""Large messages: a follow list can be signed, and nobody fills the memory with halves of them."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from bunker_core.keys import SecretKey
from bunker_relay.client.fast_path import LARGE
from support.wire import PATIENCE, Peer, RelayProcess, note, request, running_relay

MIB = 1_048_576
CONFIG = """
[rates]
signing_per_pubkey = {per_second = 1000, burst = 1000}
"""


@pytest.fixture(scope="module", params=["fast", "plain", "workers"])
def relay(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RelayProcess]:
    """A relay as it comes, in each of its ways."""
    way = {"plain": "plain = true\n", "workers": "workers = 2\n"}.get(request.param, "")
    data = tmp_path_factory.mktemp("large") / "data"
    with running_relay(data, config=way + CONFIG) as relay:
        yield relay


async def test_a_signing_request_may_be_a_mebibyte(relay: RelayProcess) -> None:
    """It is carried whole, and the next one after it."""
    signer = SecretKey.generate()
    async with Peer(relay.url) as peer, Peer(relay.url) as app:
        await peer.subscribe("s", {"kinds": [24133], "#p": [signer.pubkey]})
        for letter in "ab":
            sent = request(signer, signer.pubkey, letter * (MIB - 8_192))
            assert await app.publish(sent) == (True, "")
            assert (await peer.delivered("s"))["content"] == sent.content


@pytest.mark.parametrize("kind", [1, 20001])
async def test_what_is_not_for_signing_may_not(relay: RelayProcess, kind: int) -> None:
    """OK false or CLOSED names the limit, and the connection lives."""
    async with Peer(relay.url) as peer:
        accepted, reason = await peer.publish(note(SecretKey.generate(), "x" * LARGE, kind=kind))
        assert (accepted, reason.partition(",")[0]) == (False, "invalid: too large")
        await peer.send("REQ", "s", {"#t": ["x" * LARGE]})
        assert (await peer.next())[:2] == ["CLOSED", "s"]
        assert (await peer.answer(json.dumps(["NOTHING", "x" * LARGE])))[0] == "NOTICE"
        assert (await peer.publish(note(SecretKey.generate(), "x", kind=kind)))[0]


def _half(whole: bool) -> bytes:
    """Return the beginning of a message of a mebibyte: one frame, or the first of several."""
    length = MIB if whole else 2 * LARGE
    data = b"x" * (2 * LARGE)
    head = bytes([0x81 if whole else 0x01, 0xFF]) + length.to_bytes(8)
    return head + bytes(4) + data  # masked with nothing


@pytest.mark.parametrize("whole", [True, False], ids=["one frame", "fragments"])
async def test_halves_of_large_messages_are_bounded(tmp_path: Any, whole: bool) -> None:
    """Of one address sixteen at a time; the next is closed with 1013, until one is whole or gone.

    100 connections that send half a mebibyte each and wait add less than 32 MiB.
    """
    with running_relay(tmp_path / "data", "--profile", "bunker") as relay:
        async with AsyncExitStack() as stack:
            peers = [await stack.enter_async_context(Peer(relay.url)) for _ in range(100)]
            before = relay.rss()
            for peer in peers:
                peer.socket.transport.write(_half(whole))
            closing = {asyncio.create_task(peer.socket.wait_closed()): peer for peer in peers}
            async with asyncio.timeout(PATIENCE):
                while len(closing) > 16:
                    done, _ = await asyncio.wait(closing, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        assert closing.pop(task).socket.close_code in (1013, 1006)
            assert relay.rss() - before < 32 * MIB
            next(iter(closing.values())).socket.transport.abort()
            signer = SecretKey.generate()
            async with Peer(relay.url) as peer:
                await peer.subscribe("s", {"#p": [signer.pubkey]})
                while True:  # the relay has to notice that one has gone
                    async with Peer(relay.url) as app:
                        try:
                            await app.publish(request(signer, signer.pubkey, "y" * 3 * LARGE))
                        except Exception:  # noqa: BLE001 -- closed with 1013
                            continue
                        break
                assert len((await peer.delivered("s"))["content"]) == 3 * LARGE
            for task in closing:
                task.cancel()
            for peer in closing.values():  # they would wait for an answer to their close
                peer.socket.transport.abort()
