"""pool/pool.py, connection.py: several relays as one, over real sockets."""

import asyncio
import json
import re
import socket
import struct
import time
from typing import Any

import pytest

from bunker_core.errors import InvalidURI, PoolError
from bunker_core.event import EventTemplate, VerifiedEvent, sign_event
from bunker_core.filter import Filter
from bunker_core.pool import ConnectionState, RelayPool
from bunker_core.pool.backoff import Backoff
from support.scripted import Message, Peer, scripted_relay
from support.strategies import secret_key

NOW = 1_700_000_000
NOTES = Filter(kinds=frozenset({20001}))
LONG = 10.0  # seconds; a step that takes that long has failed
SHORT = 0.2  # seconds in which something must not happen


def note(content: str = "hello", author: int = 1) -> VerifiedEvent:
    return sign_event(EventTemplate(20001, content, (), NOW), secret_key(author))


async def test_an_event_from_two_relays_arrives_once() -> None:
    """Both relays deliver, the reader sees it once, from the relay that was first."""
    async with (
        scripted_relay() as one,
        scripted_relay() as two,
        RelayPool([one.url, two.url]) as pool,
    ):
        subscription = pool.subscribe(NOTES)
        await one.wait_for("REQ")
        await two.wait_for("REQ")
        first, second = note("first"), note("second")
        for event in (first, first, second):
            await one.forward(event)
            await two.forward(event)
        got = [await anext(subscription), await anext(subscription)]
        assert {incoming.event for incoming in got} == {first, second}
        assert {incoming.relay_url for incoming in got} <= {one.url, two.url}
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT):
                await anext(subscription)


async def test_each_relay_has_its_receipt_and_the_first_delivery_counts() -> None:
    """One relay refuses, one is silent, one delivers: three facts, and no waiting for the rest."""

    async def refuse(peer: Peer, message: Message) -> bool:
        if message[0] == "EVENT":
            await peer.send("OK", message[1]["id"], False, "blocked: not here")
        return bool(message[0] == "EVENT")

    async def ignore(peer: Peer, message: Message) -> bool:
        return True

    async with (
        scripted_relay(refuse) as no,
        scripted_relay(ignore) as mute,
        scripted_relay() as yes,
        RelayPool([no.url, mute.url, yes.url]) as pool,
        RelayPool([yes.url]) as reader,
    ):
        await reader.subscribe(NOTES).live(LONG)
        publication = pool.publish(note())
        receipt = await publication.delivered(LONG)
        assert receipt is not None
        assert receipt.relay_url == yes.url
        receipts = await publication.answered(SHORT)
        assert receipts[no.url].reason == "blocked: not here"
        assert not receipts[no.url].delivered
        assert publication.awaited == {mute.url}


async def test_delivered_gives_up_when_every_relay_refused() -> None:
    """`mute:` is no delivery, accepted or not: the caller learns at once that nobody listens."""
    async with scripted_relay() as relay, RelayPool([relay.url]) as pool:
        publication = pool.publish(note())
        assert await publication.delivered(LONG) is None
        assert publication.receipts[relay.url].muted
        assert publication.complete


async def test_a_dead_relay_does_not_delay_a_live_one(dead_url: str) -> None:
    """Connecting, subscribing and publishing are done when one relay has done them."""
    async with scripted_relay() as relay, RelayPool([dead_url, relay.url]) as pool:
        await pool.connected(LONG)
        subscription = pool.subscribe(NOTES)
        await subscription.live(LONG)
        assert await pool.publish(note()).delivered(LONG)
        assert pool.open_relays == (relay.url,)
        assert (await anext(subscription)).relay_url == relay.url


async def why_not_connected(pool: RelayPool) -> str:
    """Return what the pool says of its one relay, once it has tried it."""
    async with asyncio.timeout(LONG):
        while True:
            with pytest.raises(PoolError) as error:
                await pool.connected(SHORT)
            if not str(error.value).endswith(": no answer"):
                return str(error.value)


async def test_an_unreachable_relay_is_named_with_its_reason(dead_url: str) -> None:
    """The error of a pool without a relay says which and why, and the pool goes on trying."""
    async with RelayPool([dead_url]) as pool:
        assert await why_not_connected(pool) == f"{dead_url}: connection refused"
        state, error = pool.status()[dead_url]
        assert state in (ConnectionState.CONNECTING, ConnectionState.WAITING)
        assert error == "connection refused"


async def test_what_is_no_relay_is_said_to_be_none() -> None:
    """A web server that knows no WebSockets is reported as such."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with RelayPool([url]) as pool:
            assert re.search(r"not a relay: .*404", await why_not_connected(pool))


async def test_after_a_loss_subscription_and_unanswered_event_are_sent_again() -> None:
    """The relay restarts: the reader's subscription is back, and what had no OK gets one."""

    async def swallow(peer: Peer, message: Message) -> bool:
        return bool(message[0] == "EVENT")

    async with scripted_relay(swallow) as relay, RelayPool([relay.url]) as pool:
        subscription = pool.subscribe(NOTES)
        await subscription.live(LONG)
        event = note()
        publication = pool.publish(event)
        await relay.wait_for("EVENT")
        await relay.kill()
        relay.script = None
        await relay.start()
        receipt = await publication.delivered(LONG)
        assert receipt is not None
        assert (await anext(subscription)).event == event
        assert [message[0] for message in relay.received] == ["REQ", "EVENT", "REQ", "EVENT"]


async def test_a_forgotten_event_is_not_sent_after_a_reconnect() -> None:
    """`forget` is the caller's word that the event is of no use any more."""

    async def swallow(peer: Peer, message: Message) -> bool:
        return bool(message[0] == "EVENT")

    async with scripted_relay(swallow) as relay, RelayPool([relay.url]) as pool:
        publication = pool.publish(note("forgotten"))
        await relay.wait_for("EVENT")
        publication.forget()
        relay.drop()
        relay.script = None
        kept = pool.publish(note("kept"))
        assert await kept.answered(LONG)
        contents = [message[1]["content"] for message in relay.of_type("EVENT")]
        assert contents == ["forgotten", "kept"]


async def test_a_subscription_that_the_relay_ended_is_asked_for_again() -> None:
    """CLOSED by a relay that is overloaded or restarting is not the end."""
    refusals = 1

    async def close_once(peer: Peer, message: Message) -> bool:
        nonlocal refusals
        if message[0] == "REQ" and refusals:
            refusals -= 1
            await peer.send("CLOSED", message[1], "error: overloaded")
            return True
        return False

    async with scripted_relay(close_once) as relay, RelayPool([relay.url]) as pool:
        subscription = pool.subscribe(NOTES)
        await subscription.live(LONG)
        assert subscription.refusals == {}
        assert len(relay.of_type("REQ")) == 2


async def test_a_refusal_is_the_reason_that_live_gives() -> None:
    """A relay that does not serve the subscription is quoted."""

    async def refuse(peer: Peer, message: Message) -> bool:
        if message[0] == "REQ":
            await peer.send("CLOSED", message[1], "restricted: members only")
        return True

    async with scripted_relay(refuse) as relay, RelayPool([relay.url]) as pool:
        with pytest.raises(PoolError, match="restricted: members only"):
            await pool.subscribe(NOTES).live(SHORT)


async def test_auth_is_sent_over_the_wire_when_the_relay_insists() -> None:
    """auth-required, AUTH, and the subscription is live, without the caller's doing."""
    authenticated: set[Peer] = set()

    async def insist(peer: Peer, message: Message) -> bool:
        match message:
            case ["AUTH", event]:
                authenticated.add(peer)
                await peer.send("OK", event["id"], True, "")
                return True
            case ["REQ", subscription_id, *_] if peer not in authenticated:
                await peer.send("CLOSED", subscription_id, "auth-required: who are you")
                return True
        return False

    key = secret_key(7)
    async with scripted_relay(insist) as relay:
        relay.greeting = ["AUTH", "challenge"]
        async with RelayPool([relay.url], auth=[lambda t: sign_event(t, key)]) as pool:
            await pool.subscribe(NOTES).live(LONG)
        [auth] = relay.of_type("AUTH")
        assert auth[1]["pubkey"] == key.pubkey
        assert ["relay", relay.url] in auth[1]["tags"]


async def test_garbage_from_a_relay_does_not_end_the_connection() -> None:
    """Bad JSON, unknown messages and forged events are dropped, the next true event is read."""
    garbage: list[Any] = ["not json", "[]", '["EVENT"]', '["EVENT","x",{}]', '{"a":1}', "[" * 5000]

    async with scripted_relay() as relay, RelayPool([relay.url]) as pool:
        subscription = pool.subscribe(NOTES)
        await subscription.live(LONG)
        [peer] = relay.peers
        for text in garbage:
            await peer.send_text(text)
        forged = {**note("forged").to_dict(), "content": "other"}
        await peer.send("EVENT", subscription.subscription_id, forged)
        await relay.forward(note("true"))
        assert (await anext(subscription)).event.content == "true"
        assert relay.connections == 1


async def test_a_relay_that_joins_gets_the_subscriptions_and_one_that_leaves_gets_nothing() -> None:
    """`add_relay` subscribes at once; `remove_relay` ends the wait for that relay's answer."""

    async def swallow(peer: Peer, message: Message) -> bool:
        return bool(message[0] == "EVENT")

    async with (
        scripted_relay() as one,
        scripted_relay(swallow) as two,
        RelayPool([one.url]) as pool,
    ):
        subscription = pool.subscribe(NOTES)
        pool.add_relay(two.url)
        await subscription.live(LONG, (two.url,))
        publication = pool.publish(note())
        await two.wait_for("EVENT")
        await pool.remove_relay(two.url)
        await publication.answered(LONG)
        assert publication.complete
        assert pool.relay_urls == (one.url,)


async def test_live_waits_for_the_relays_that_it_is_given(dead_url: str) -> None:
    """A subscription is live at one of the named relays, not at any."""
    async with scripted_relay() as relay, RelayPool([relay.url, dead_url]) as pool:
        subscription = pool.subscribe(NOTES)
        await subscription.live(LONG)
        with pytest.raises(PoolError):
            await subscription.live(SHORT, (dead_url,))


async def test_a_closed_subscription_ends_its_reader_and_tells_the_relay() -> None:
    """`close` sends CLOSE and lets `async for` end."""
    async with scripted_relay() as relay, RelayPool([relay.url]) as pool:
        subscription = pool.subscribe(NOTES)
        await subscription.live(LONG)
        subscription.close()
        assert [incoming async for incoming in subscription] == []
        await relay.wait_for("CLOSE")


async def test_a_relay_url_is_one_relay_however_it_is_spelled() -> None:
    """URLs are compared in normal form, and one that is none is refused."""
    async with scripted_relay() as relay:
        async with RelayPool([relay.url, relay.url + "/"]) as pool:
            await pool.connected(LONG)
            assert pool.relay_urls == (relay.url,)
            with pytest.raises(InvalidURI):
                pool.add_relay("http://example.com")
        assert relay.connections == 1


async def test_a_reset_connection_comes_back() -> None:
    """A TCP reset in the middle is a loss like any other."""
    async with scripted_relay() as relay, RelayPool([relay.url]) as pool:
        subscription = pool.subscribe(NOTES)
        await subscription.live(LONG)
        [peer] = relay.peers
        raw = peer.socket.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        relay.drop()
        await relay.wait_for("REQ", 2)
        await relay.forward(note())
        assert json.loads((await anext(subscription)).event.to_json())["content"] == "hello"


async def test_each_connection_and_each_loss_is_told() -> None:
    """The owner of a pool learns of every connection and every loss, by the relay's URL."""
    told: list[tuple[str, str]] = []
    again = asyncio.Event()

    def opened(url: str) -> None:
        told.append(("open", url))
        if told.count(("open", url)) == 2:
            again.set()

    async with scripted_relay() as relay:
        async with RelayPool(
            [relay.url], on_open=opened, on_lost=lambda url: told.append(("lost", url))
        ) as pool:
            await pool.connected(LONG)
            relay.drop()
            async with asyncio.timeout(LONG):
                await again.wait()
        assert told[0] == ("open", relay.url)
        assert ("lost", relay.url) in told[1 : told.index(("open", relay.url), 1)]


async def test_a_connection_that_went_dead_is_found_out_by_a_check() -> None:
    """`check` renews a connection whose other end answers no ping, and leaves a live one alone."""
    async with scripted_relay() as relay, RelayPool([relay.url]) as pool:
        await pool.connected(LONG)
        pool.check([relay.url])
        [peer] = relay.peers
        peer.socket.transport.pause_reading()
        pool.check([relay.url])
        lost = asyncio.Event()
        pool._on_lost = lambda _: lost.set()
        async with asyncio.timeout(LONG):
            await lost.wait()
            await pool.connected(LONG)
        assert relay.connections == 2


async def test_the_relays_clock_is_known_from_its_handshake(dead_url: str) -> None:
    """Ten minutes behind the relay's Date is a skew of ten minutes; the dead relay has no vote."""
    async with (
        scripted_relay() as relay,
        RelayPool([dead_url, relay.url], clock=lambda: time.time() - 600) as pool,
    ):
        assert pool.clock_skew == 0
        await pool.connected(LONG)
        assert 595 < pool.clock_skew < 605


async def test_auth_goes_by_the_relays_clock_when_ours_is_off() -> None:
    """NIP-42 wants a created_at within minutes: with a wrong clock AUTH is dated by the relay's."""

    async def insist(peer: Peer, message: Message) -> bool:
        if message[0] == "REQ":
            await peer.send("CLOSED", message[1], "auth-required: who are you")
        return True

    key = secret_key(7)
    async with scripted_relay(insist) as relay:
        relay.greeting = ["AUTH", "challenge"]
        async with RelayPool(
            [relay.url],
            auth=[lambda t: sign_event(t, key)],
            clock=lambda: time.time() - 3600,
        ) as pool:
            pool.subscribe(NOTES)
            [auth] = await relay.wait_for("AUTH")
            assert abs(auth[1]["created_at"] - time.time()) < 10


async def test_a_relay_with_a_wrong_clock_shifts_nothing_beside_a_right_one() -> None:
    """Of two relays one is a day behind: the one that agrees with us counts, in either order."""
    for wrong in (0, 1):
        async with (
            scripted_relay() as one,
            scripted_relay() as two,
            RelayPool([one.url, two.url], clock=lambda: NOW) as pool,
        ):
            while len(pool.open_relays) < 2:
                await pool.connected(LONG)
                await asyncio.sleep(0)
            connections = list(pool._connections.values())
            connections[wrong].clock_skew = -86400.0
            connections[1 - wrong].clock_skew = 4.0
            assert pool.clock_skew == 4.0
            assert pool.now() == NOW  # what the Date can't tell apart is left as it is
            connections[1 - wrong].clock_skew = 1200.0
            assert pool.now() == NOW + 1200


async def reaches(pool: RelayPool, url: str, state: ConnectionState) -> None:
    async with asyncio.timeout(LONG):
        while pool.status()[url][0] is not state:
            pool._changed.clear()
            await pool._changed.wait()


async def test_a_relay_that_opens_has_the_others_tried_at_once(dead_url: str) -> None:
    """The network is back with the first relay that answers: nobody waits out a long pause."""
    async with scripted_relay() as relay, RelayPool([dead_url]) as pool:
        waiting = pool._connections[dead_url]
        await reaches(pool, dead_url, ConnectionState.WAITING)
        waiting._backoff = Backoff(first=LONG * 100)
        waiting.hurry()
        await reaches(pool, dead_url, ConnectionState.CONNECTING)
        await reaches(pool, dead_url, ConnectionState.WAITING)  # for a quarter of an hour
        pool.add_relay(relay.url)
        await reaches(pool, dead_url, ConnectionState.CONNECTING)
