"""Which dates a request may have, what its answer is dated, and whose clock counts (R5, R7)."""

import json
import time
from pathlib import Path

import pytest

from bunker_core.event import verify
from bunker_core.keys import SecretKey
from bunker_core.nips.nip46 import Response
from bunker_signer.request.reply import Reply
from signer.request.support.rig import rig
from signer.request.wire._wire import NOTE, signed, wire


async def test_responses_are_never_older_than_requests(relay_url: str, data: Path) -> None:
    """R5: go and nak listen `since: now`; a signer whose clock is behind must not backdate."""
    now = int(time.time())
    async with (
        rig(relay_url, data, clock=lambda: now - 30.0) as signer,
        wire(relay_url, signer.pubkey) as client,
    ):
        signer.invite("s3cret")
        answer = await client.ask("connect", "", "s3cret", created_at=now + 2)
        assert answer.event.created_at == now + 2
        answer = await client.ask("ping", created_at=now - 60)
        assert answer.event.created_at == now - 30


async def test_requests_of_the_last_minute_are_wanted(relay_url: str, data: Path) -> None:
    """R7: a client whose clock is a minute behind, or a second ahead, is served."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        for number, offset in enumerate((-55, 1, 55)):
            answer = await client.ask("ping", rid=number, created_at=int(time.time()) + offset)
            assert answer.json == {"id": number, "result": "pong"}


async def test_a_replayed_event_is_dropped_after_a_restart_too(relay_url: str, data: Path) -> None:
    """R7: event ids are remembered on disk: what a relay replays is not handled twice."""
    key = SecretKey.generate()
    async with rig(relay_url, data) as signer, signer.client(key=key) as client:
        event = await client.send("ping", rid="once")
        assert (await client.receive()).json["id"] == "once"
    async with rig(relay_url, data) as again:
        assert again.pubkey == signer.pubkey
        async with wire(relay_url, again.pubkey, key) as client:
            await client.publish(event)
            assert (await client.ask("ping", rid="later")).json["id"] == "later"
            assert "once" not in [item.json["id"] for item in client.seen]


@pytest.mark.parametrize("offset", [-1000, -310, 310, 80_000])
async def test_a_client_is_told_how_far_its_clock_is_off(
    relay_url: str, data: Path, offset: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Minutes off: nothing is done, and client and owner are told by how much, once a minute."""
    now = float(int(time.time()))
    async with (
        rig(relay_url, data, clock=lambda: now) as signer,
        signer.client("sign_event") as client,
    ):

        async def handled(rid: str, created_at: float) -> Reply | None:
            text = json.dumps({"id": rid, "method": "sign_event", "params": [NOTE]})
            event = client.event(text, created_at=int(created_at))
            return await signer.agent.handler.handle(verify(event), relay_url)

        reply = await handled("a", now + offset)
        assert reply is not None
        side = "ahead of" if offset > 0 else "behind"
        told = f"invalid: your clock is {abs(offset)} s {side} the relay's, set it and retry"
        assert reply.response == Response("a", error=told)
        assert caplog.messages.count("a client's clock is off") == 1
        assert signer.audit("request") == []
        assert await handled("b", now + offset) is None
        now += 61
        assert await handled("c", now + offset) is not None
        assert await handled("d", now + 2 * 86400) is None  # no client's clock, but a recording


async def test_a_stranger_is_not_told_of_clocks(relay_url: str, data: Path) -> None:
    """What is stale of somebody unknown gets nothing: it may be a recording."""
    async with rig(relay_url, data) as signer, signer.client(pair=False) as client:
        event = client.event('{"id":"old","method":"ping"}', created_at=int(time.time()) - 1000)
        assert await signer.agent.handler.handle(verify(event), relay_url) is None


@pytest.mark.parametrize("off", [-1200.0, 1200.0])
async def test_a_machine_minutes_off_serves(
    relay_url: str, data: Path, off: float, caplog: pytest.LogCaptureFixture
) -> None:
    """The relay's Date corrects the clock: requests are fresh, events are dated right."""
    async with (
        rig(relay_url, data, clock=lambda: time.time() + off) as signer,
        signer.client("sign_event") as client,
    ):
        answer = await client.ask("sign_event", json.dumps({"kind": 1, "content": "x"}), rid="x")
        assert abs(signed(answer).created_at - time.time()) < 60
        assert abs(answer.event.created_at - time.time()) < 60
        assert abs(signer.agent.clock_off + off) < 30
        assert caplog.messages.count("this machine's clock is off: set it by NTP") == 1


async def test_a_relay_can_t_shift_the_clock_by_hours(relay_url: str, data: Path) -> None:
    """Beyond an hour our own clock counts: requests that were forgotten would be fresh again."""
    async with rig(relay_url, data, clock=lambda: time.time() + 7200) as signer:
        assert abs(signer.agent._corrected() - time.time() - 7200) < 30
