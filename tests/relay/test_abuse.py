"""Abuse: whoever is slow, floods or offends pays for it alone."""

import asyncio
import base64
import os
import socket
import time

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from bunker_core.keys import SecretKey
from support.wire import PATIENCE, Peer, Refused, Start, note, request

UNLIMITED = "{per_second = 100000, burst = 100000}"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _metric(port: int, name: str) -> float:
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    (line,) = [line for line in text.splitlines() if line.startswith(f"bunker_relay_{name} ")]
    return float(line.split()[1])


async def test_a_client_that_does_not_read_is_closed_alone(start: Start) -> None:
    """40 MB flow past a subscriber that never reads: it alone is closed, and counted."""
    port = _free_port()
    relay = start(
        forked=False,
        config=f"""
        limits.max_outbox_bytes = 1_048_576
        limits.max_signing_bytes = 262_144
        rates.signing_per_ip = {UNLIMITED}
        rates.signing_per_pubkey = {UNLIMITED}
        metrics.port = {port}
        """,
    )
    key, client = SecretKey.generate(), SecretKey.generate()
    deaf = Peer(relay.url, max_queue=1, close_timeout=0.1)
    async with Peer(relay.url) as reader, Peer(relay.url) as sender, deaf:
        for peer in (deaf, reader):
            await peer.subscribe("s", {"#p": [key.pubkey]})
        before = relay.rss()
        for number in range(200):
            event = request(client, key.pubkey, f"{number:06}" * 35_000)
            await sender.send("EVENT", event)
            assert (await reader.delivered("s"))["id"] == event.id
            assert await sender.ok(event.id) == (True, "")
        assert relay.rss() - before < 32 * 2**20
        assert _metric(port, "slow_clients_closed_total") == 1
        assert _metric(port, "connections_open") == 2
    assert "does not read" in relay.log()


async def test_stored_events_wait_for_a_client_that_reads_slowly(start: Start) -> None:
    """A stored answer larger than the outbox is sent as fast as it is read, and whole."""
    relay = start(config="limits = {max_outbox_bytes = 1_048_576, max_signing_bytes = 262_144}")
    key = SecretKey.generate()
    async with Peer(relay.url) as sender, Peer(relay.url, max_queue=1) as reader:
        for number in range(40):
            assert (await sender.publish(note(key, f"{number:06}" * 15_000)))[0]  # 3.6 MB
        found = await reader.subscribe("s", {"authors": [key.pubkey]})
        assert len(found) == 40


async def test_live_events_held_behind_a_stored_answer_are_bounded(start: Start) -> None:
    """What is held back while stored events are sent counts for the outbox too."""
    relay = start(config="limits = {max_outbox_bytes = 1_048_576, max_signing_bytes = 262_144}")
    key = SecretKey.generate()
    async with (
        Peer(relay.url) as sender,
        Peer(relay.url, max_queue=1, close_timeout=0.1) as deaf,
    ):
        for number in range(200):
            assert (await sender.publish(note(key, f"{number:06}" * 15_000)))[0]  # 18 MB
        await deaf.send("REQ", "s", {"authors": [key.pubkey]})
        for number in range(30):
            assert (await sender.publish(note(key, f"{number:06}" * 15_000, kind=20001)))[0]
        assert await deaf.close_code() == 1006
    assert "does not read" in relay.log()


async def test_ping_goes_out_and_silence_is_closed(start: Start) -> None:
    """A client that answers no ping is closed after the time-out, subscribed or not."""
    relay = start(config="ping_interval = 0.1\nping_timeout = 0.3")
    key = base64.b64encode(os.urandom(16))
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n"
        )
        started = time.monotonic()
        received = await reader.read(-1)
        writer.close()
    assert b"\x89\x04" in received  # a ping of four bytes
    assert b"keepalive ping timeout" in received
    assert 0.3 < time.monotonic() - started < 10


async def test_a_client_that_answers_pings_stays(start: Start) -> None:
    """Through ten rounds of pings, busy or idle, nobody who answers is closed."""
    relay = start(
        config=f"""
        ping_interval = 0.1
        ping_timeout = 5
        rates.events_per_ip = {UNLIMITED}
        rates.events_per_pubkey = {UNLIMITED}
        """
    )
    key = SecretKey.generate()
    async with Peer(relay.url) as busy, Peer(relay.url) as idle:
        await idle.subscribe("s", {"#p": [key.pubkey]})
        end = time.monotonic() + 1
        while time.monotonic() < end:
            assert (await busy.publish(note(key, kind=20001)))[0]
        assert await busy.publish(request(key, key.pubkey)) == (True, "")
        assert len(await idle.unread()) == 1


def test_the_default_ping_is_every_20_to_30_seconds() -> None:
    """Often enough for proxies that drop silence after 60 seconds."""
    from bunker_relay.config import Config

    assert 20 <= Config().ping_interval <= 30


async def test_offenders_are_closed_with_1008(start: Start) -> None:
    """After `max_offences` unreadable messages in a minute the connection is closed."""
    relay = start(config="limits.max_offences = 5")
    async with Peer(relay.url) as peer, Peer(relay.url) as other:
        for _ in range(5):
            assert (await peer.answer("not json"))[0] == "NOTICE"
        await peer.send_text("not json")
        assert await peer.close_code() == 1008
        assert (await other.publish(note(SecretKey.generate())))[0]


async def test_rate_limits_per_ip_and_pubkey(start: Start) -> None:
    """Notes run into their bucket, `rate-limited:`; signing has its own and goes on."""
    relay = start(
        config="""
        rates.events_per_ip = {per_second = 0.001, burst = 30}
        rates.events_per_pubkey = {per_second = 0.001, burst = 10}
        rates.queries_per_ip = {per_second = 0.001, burst = 20}
        """
    )
    one, two = SecretKey.generate(), SecretKey.generate()
    async with Peer(relay.url) as peer:
        replies = [await peer.publish(note(one, str(number))) for number in range(11)]
        assert [ok for ok, _ in replies] == [True] * 10 + [False]
        assert replies[-1][1].startswith("rate-limited:")
        replies = [await peer.publish(note(two, str(number), kind=20001)) for number in range(10)]
        assert all(ok for ok, _ in replies)
        fresh = [await peer.publish(note(SecretKey.generate())) for _ in range(10)]
        assert [ok for ok, _ in fresh] == [True] * 9 + [False]  # 30 of one address
        for number in range(500):
            assert (await peer.publish(request(one, two.pubkey, str(number))))[0]
        for number in range(20):
            assert await peer.subscribe(f"s{number}", {"limit": 0}) == []
        with pytest.raises(Refused, match=r"^CLOSED rate-limited:"):
            await peer.subscribe("more", {"limit": 0})


async def test_nobody_empties_the_bucket_of_another_pubkey(start: Start) -> None:
    """Events with a forged signature do not count for the pubkey that they name."""
    relay = start(config="rates.signing_per_pubkey = {per_second = 0.001, burst = 3}")
    victim, signer = SecretKey.generate(), SecretKey.generate()
    async with Peer(relay.url) as peer:
        for number in range(20):
            forged = request(victim, signer.pubkey, str(number)).to_dict() | {"sig": "0" * 128}
            await peer.send("EVENT", forged)
            assert not (await peer.ok(forged["id"]))[0]
        for number in range(3):
            assert (await peer.publish(request(victim, signer.pubkey, f"real {number}")))[0]
        assert not (await peer.publish(request(victim, signer.pubkey, "one too many")))[0]


async def test_a_thousand_signing_requests_of_one_key_pass_by_default(start: Start) -> None:
    """With the default buckets a client may ask for 1,000 decryptions at once."""
    relay = start()
    client, signer = SecretKey.generate(), SecretKey.generate()
    async with Peer(relay.url) as peer:
        sent = [request(client, signer.pubkey, str(number)) for number in range(1_000)]
        for event in sent:
            await peer.send("EVENT", event)
        for event in sent:
            assert (await peer.ok(event.id))[0]


async def test_forwarded_addresses_count_only_from_a_listed_proxy(start: Start) -> None:
    """X-Forwarded-For of anybody is ignored; of a trusted proxy it tells the clients apart."""
    limit = "rates.events_per_ip = {per_second = 0.001, burst = 1}"
    for trusted, passes in (("", False), ('trusted_proxies = ["127.0.0.0/8"]', True)):
        relay = start(config=f"{trusted}\n{limit}")
        for number in range(3):
            headers = {"X-Forwarded-For": f"198.51.100.{number}"}
            async with Peer(relay.url, additional_headers=headers) as peer:
                accepted, _ = await peer.publish(note(SecretKey.generate()))
                assert accepted == (passes or number == 0)


async def test_too_many_connections_of_one_address_are_refused(start: Start) -> None:
    """One more than `max_connections_per_ip` gets HTTP 429; when one leaves, one may come."""
    relay = start(config="limits.max_connections_per_ip = 2")
    async with Peer(relay.url):
        async with Peer(relay.url):
            with pytest.raises(InvalidStatus) as refused:
                async with Peer(relay.url):
                    pass
            assert refused.value.response.status_code == 429
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    async with Peer(relay.url) as peer:
                        assert (await peer.publish(note(SecretKey.generate())))[0]
                        return
                except InvalidStatus:
                    await asyncio.sleep(0)  # the relay has not seen the other one leave yet


async def test_a_scrape_is_cut_off_and_starves_nobody(start: Start) -> None:
    """A query that takes too long is CLOSED with `error:`; signing goes on meanwhile."""
    relay = start(config="store.query_timeout = 0.0001")
    key = SecretKey.generate()
    values = [str(number) for number in range(1_900)]
    async with Peer(relay.url) as scraper, Peer(relay.url) as peer:
        for number in range(20):
            tags = tuple(("t", value) for value in values[number::20])
            assert (await peer.publish(note(key, tags=tags)))[0]
        with pytest.raises(Refused, match=r"^CLOSED error: query took too long"):
            await scraper.subscribe("s", *[{"#t": values}] * 7)
        assert (await peer.publish(request(key, key.pubkey)))[0]
        assert await scraper.subscribe("s", {"kinds": [24133]}) == []


async def test_a_closed_connection_leaves_nothing_behind(start: Start) -> None:
    """Subscriptions and connections that end, gently or not, are gone from the counts."""
    port = _free_port()
    relay = start(config=f"metrics.port = {port}")
    for number in range(5):
        async with Peer(relay.url) as peer:
            await peer.subscribe("s", {"kinds": [1_000 + number]})
            await peer.subscribe("t", {"#p": ["a" * 64]})
            if number % 2:
                peer.socket.transport.abort()
    end = time.monotonic() + PATIENCE
    while _metric(port, "subscriptions_open") or _metric(port, "connections_open"):
        assert time.monotonic() < end
    assert _metric(port, "connections_total") == 5
    with pytest.raises(ConnectionClosed):
        await peer.next()
