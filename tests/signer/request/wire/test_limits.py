"""A flood of a client's requests, or of strangers', costs little, and the others are served."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from bunker_core.event import sign_event, verify
from bunker_core.keys import SecretKey
from bunker_core.nips.channel import rpc_template
from bunker_signer.store.database.schema import handled, requests
from signer.request.support.rig import rig
from signer.request.wire._wire import NOTE, content_of, wire


async def test_a_client_that_floods_is_limited(relay_url: str, data: Path) -> None:
    """A paired client may be busy, but not without end, and the others are served."""
    at = float(int(time.time()))
    async with (
        rig(relay_url, data, clock=lambda: at) as signer,
        signer.client("sign_event") as client,
        signer.client("sign_event") as other,
    ):
        await client.ask("ping", rid="p")
        bucket = signer.agent.handler._client_requests.get(f"default:{client.key.pubkey}")
        assert bucket is not None
        while bucket.take(at):
            pass
        answer = await client.ask("sign_event", NOTE, rid="x")
        assert answer.error == "rate-limited: too many requests"
        assert content_of(await other.ask("sign_event", NOTE)) == "hello"


async def test_too_much_at_a_time_is_refused(
    relay_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signer that can't keep up says so at once; the same again later is served."""
    now = int(time.time())
    async with (
        rig(relay_url, data) as signer,
        signer.client("sign_event") as client,
        wire(relay_url, signer.pubkey) as stranger,
    ):
        with monkeypatch.context() as patched:
            patched.setattr("bunker_signer.service.agent.AT_WORK", 0)
            await stranger.send("connect", "", "guess")
            answer = await client.ask("sign_event", NOTE, rid="x", created_at=now - 2)
            assert answer.error == "rate-limited: the signer is busy, ask again later"
        assert stranger.seen == []
        assert signer.audit("request") == []
        again = await client.ask("sign_event", NOTE, rid="x", created_at=now - 1)
        assert content_of(again) == "hello"


async def test_not_even_refusals_are_without_end(relay_url: str, data: Path) -> None:
    """A client that floods a busy signer gets no more answers than a client may have."""
    at = float(int(time.time()))
    async with (
        rig(relay_url, data, clock=lambda: at, client_rate=0.1) as signer,
        signer.client() as client,
    ):
        event = verify(client.event(json.dumps({"id": "x", "method": "ping", "params": []})))
        refuse = signer.agent.handler.turn_away
        replies = [refuse(event, relay_url) for _ in range(4)]
        assert [reply is not None for reply in replies] == [True, True, False, False]


async def test_strangers_cost_a_limited_number_of_key_agreements(
    relay_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of strangers is looked into so often a second, and clients are served meanwhile.

    Four times as often while a secret waits, or a stranger who has it could never pair.
    """
    at = float(int(time.time()))
    async with rig(relay_url, data, clock=lambda: at) as signer, signer.client() as client:
        opened: list[str] = []
        channel = signer.identity.channel

        def counted(pubkey: str) -> Any:
            opened.append(pubkey)
            return channel(pubkey)

        monkeypatch.setattr(signer.identity, "channel", counted)
        template = rpc_template("A" * 200, signer.pubkey, int(at))
        for _ in range(250):
            event = sign_event(template, SecretKey.generate())
            assert await signer.agent.handler.handle(verify(event), relay_url) is None
        assert 100 < len(opened) <= 200
        assert (await client.ask("ping", rid="p", created_at=int(at))).json["result"] == "pong"
        signer.invite("unused-secret")
        at += 3.0
        for _ in range(254):
            event = sign_event(template, SecretKey.generate())
            assert await signer.agent.handler.handle(verify(event), relay_url) is None
        async with wire(relay_url, signer.pubkey) as late:
            paired = await late.ask("connect", "", "unused-secret", created_at=int(at))
        assert paired.json["result"] == "ack"


async def test_strangers_leave_no_trace(relay_url: str, data: Path) -> None:
    """However many come, nothing of theirs is written down, and little is kept in memory."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        before = (signer.clients(), len(signer.audit()))
        async with wire(relay_url, signer.pubkey) as stranger:
            for number in range(30):
                stranger.key = SecretKey.generate()
                await stranger.send("connect", "", f"guess {number}", rid=f"{number}")
            await client.ask("ping", rid="p")
        with signer.database.read() as connection:
            # the client's own connect and ping
            assert (connection.scalar(select(func.count()).select_from(handled)) or 0) <= 2
            assert connection.scalar(select(func.count()).select_from(requests)) == 0
        assert (len(signer.clients()), len(signer.audit())) == (len(before[0]), before[1])
