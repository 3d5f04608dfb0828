"""What somebody gets who is not paired (R4)."""

import asyncio
import time
from pathlib import Path

import pytest

from bunker_core.event import sign_event
from bunker_core.nips import nip44
from bunker_core.nips.channel import rpc_template
from signer.request.support.rig import rig
from signer.request.wire._wire import wire


async def test_strangers_are_told(relay_url: str, data: Path) -> None:
    """R4: a stranger whose request can be read gets an error, not silence."""
    async with rig(relay_url, data) as signer, wire(relay_url, signer.pubkey) as stranger:
        for method in (
            "ping",
            "get_public_key",
            "sign_event",
            "logout",
            "switch_relays",
            "nonsense",
        ):
            answer = await stranger.ask(method, rid=method)
            assert answer.json["id"] == method
            assert answer.error == "denied: not connected, send connect first"


async def test_answers_to_strangers_are_capped(relay_url: str, data: Path) -> None:
    """R4: a flood of strangers' requests gets a handful of answers, and clients are served."""
    at = int(time.time())
    async with (
        rig(relay_url, data, clock=lambda: float(at)) as signer,
        wire(relay_url, signer.pubkey) as stranger,
        wire(relay_url, signer.pubkey) as client,
    ):
        signer.invite("for the client")
        await asyncio.gather(
            *(stranger.send("ping", rid=f"{number}", created_at=at) for number in range(60))
        )
        answer = await client.ask("connect", "", "for the client", created_at=at)
        assert answer.json["result"] == "ack"
        assert (await client.ask("ping", created_at=at)).json["result"] == "pong"
        assert len(stranger.seen) <= 20


@pytest.mark.parametrize("what", ["garbage", "for someone else", "nip04 garbage", "no request"])
async def test_what_a_stranger_can_not_have_meant_is_dropped(
    relay_url: str, data: Path, what: str
) -> None:
    """R4: an undecryptable or unreadable event of a stranger gets nothing: no oracle."""
    async with (
        rig(relay_url, data) as signer,
        wire(relay_url, signer.pubkey) as stranger,
        wire(relay_url, signer.pubkey) as other,
    ):
        content = {
            "garbage": "garbage",
            "for someone else": nip44.encrypt("{}", nip44.conversation_key(b"\x01" * 32)),
            "nip04 garbage": "AAAAAAAAAAAAAAAAAAAAAA==?iv=AAAAAAAAAAAAAAAAAAAAAA==",
            "no request": stranger.channel.seal("[1, 2"),
        }[what]
        template = rpc_template(content, signer.pubkey, int(time.time()))
        await stranger.publish(sign_event(template, stranger.key))
        # the other's answer comes later than one to the stranger would have
        assert (await other.ask("ping")).error
        assert stranger.seen == []
