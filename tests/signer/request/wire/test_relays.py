"""On which relays a client is heard and answered, and when the signer listens."""

import asyncio
import json
from pathlib import Path

from bunker.harness import running_relay
from bunker_core.keys import SecretKey
from bunker_core.nips.bunker_uri import NostrConnectURI, parse_bunker_uri
from bunker_core.pool import RelayPool
from signer.request.support.rig import rig
from signer.request.wire._wire import Wire, wire
from support.scripted import Message, Peer, scripted_relay


async def test_switch_relays_says_null_as_text(relay_url: str, data: Path) -> None:
    """R3: nothing to change is the text "null": nostr-tools and applesauce hang on JSON's null."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        answer = await client.ask("switch_relays")
        assert answer.json == {"id": "1", "result": "null"}


async def test_the_uri_is_good_when_it_is_there(relay_url: str, data: Path) -> None:
    """R6: the signer is subscribed before its URI exists: a connect at once is not lost."""
    async with (
        wire(relay_url, "ab" * 32) as client,
        rig(relay_url, data) as signer,
    ):
        client.remote = signer.pubkey
        uri = parse_bunker_uri(str(signer.agent.invite(signer.identity, "s3cret", ())))
        # The relay answers `mute:` for an ephemeral event that nobody is subscribed to.
        assert (await client.ask("connect", "", uri.secret)).json["result"] == "ack"
        assert uri.relays == (relay_url,)


async def test_no_uri_before_the_subscription_stands(data: Path) -> None:
    """R6: the signer is not there until a relay has confirmed its subscription by EOSE."""
    asked: asyncio.Queue[tuple[Peer, str]] = asyncio.Queue()

    async def hold(peer: Peer, message: Message) -> bool:
        if message[0] != "REQ":
            return False
        asked.put_nowait((peer, message[1]))
        return True

    async def start() -> None:
        async with rig(relay.url, data):
            started.append(True)

    started: list[bool] = []
    async with scripted_relay(hold) as relay:
        starting = asyncio.create_task(start())
        peer, subscription_id = await asked.get()
        for _ in range(3):  # time enough for a signer that would not wait
            async with RelayPool([relay.url]) as pool:
                await pool.connected(10)
        assert not started
        await peer.send("EOSE", subscription_id)
        async with asyncio.timeout(10):
            await starting
        assert started


async def test_responses_go_to_all_relays_of_the_client(
    relay_url: str, data: Path, tmp_path: Path
) -> None:
    """R8: the answer is published where the client listens and where the request came from."""
    async with running_relay(tmp_path / "other") as other, rig(relay_url, data) as signer:
        key = SecretKey.generate()
        async with (
            wire(relay_url, signer.pubkey, key) as here,
            wire(other.url, signer.pubkey, key) as there,
        ):
            uri = NostrConnectURI(key.pubkey, (other.url,), "0s8j2djs")
            await signer.agent.accept(signer.identity, uri, ())
            assert (await there.receive()).json["result"] == "0s8j2djs"
            await here.receive()  # by the signer's own relay too
            await here.send("ping", rid="from here")
            assert (await here.receive()).json["id"] == "from here"
            assert (await there.receive()).json["id"] == "from here"


async def test_an_undelivered_response_is_sent_again(relay_url: str, data: Path) -> None:
    """R8: an answer that found nobody listening is sent again as a fresh event."""
    async with rig(relay_url, data) as signer:
        secret = signer.invite("s3cret")
        key = SecretKey.generate()
        async with wire(relay_url, signer.pubkey) as voice:
            # sent by a client that does not listen: the relay answers `mute:` to the response
            silent = Wire(voice.pool, signer.pubkey, key)
            await silent.publish(
                silent.event(json.dumps({"id": "1", "method": "connect", "params": ["", secret]}))
            )
            async with wire(relay_url, signer.pubkey, key) as listener:
                assert (await listener.receive()).json == {"id": "1", "result": "ack"}


async def test_a_client_from_elsewhere_is_moved_to_our_relays(
    relay_url: str, data: Path, tmp_path: Path
) -> None:
    """R3: a client on other relays gets the list once, is served on both, then told "null"."""
    async with running_relay(tmp_path / "theirs") as theirs, rig(relay_url, data) as signer:
        key = SecretKey.generate()
        async with wire(theirs.url, signer.pubkey, key) as there:
            uri = NostrConnectURI(key.pubkey, (theirs.url,), "0s8j2djs")
            await signer.agent.accept(signer.identity, uri, ())
            await there.receive()
            answer = await there.ask("switch_relays", rid="s")
            assert json.loads(answer.json["result"]) == [relay_url]
            assert (await there.ask("ping", rid="p")).json["result"] == "pong"
            assert (await there.ask("switch_relays", rid="t")).json["result"] == "null"
            async with wire(relay_url, signer.pubkey, key) as here:
                assert (await here.ask("ping", rid="q")).json["id"] == "q"
        assert theirs.url in signer.agent.pool.relay_urls
        await signer.agent.housekeeping.leave_relays()  # it may be needed for a round more
        assert theirs.url in signer.agent.pool.relay_urls
        await signer.agent.housekeeping.leave_relays()
        assert signer.agent.pool.relay_urls == (relay_url,)
