"""Kind 24133 over the wire: what remote signing asks of a relay."""

import asyncio
import statistics
import time
from typing import Any

import pytest

from bunker_core.keys import SecretKey
from support.wire import NOBODY, Peer, RelayProcess, note, request

NOW = int(time.time())


@pytest.mark.parametrize(
    "wanted",
    [
        {"kinds": [24133], "authors": ["CLIENT"], "#p": ["SIGNER"], "limit": 0},  # nostr-tools
        {"kinds": [24133], "#p": ["SIGNER"]},  # NDK
        {"kinds": [24133], "#p": ["SIGNER"], "since": NOW - 5, "limit": 0},  # nak
        {"kinds": [24133], "#p": ["SIGNER"], "limit": 1, "since": NOW - 300},  # Amber
        {"#p": ["SIGNER"], "since": 0},
        {"authors": ["CLIENT"]},
    ],
)
async def test_every_clients_subscription_works(
    peer: Peer, other: Peer, key: SecretKey, wanted: dict[str, Any]
) -> None:
    """EOSE comes at once, then each request, in order, and none twice."""
    client = SecretKey.generate()
    names = {"CLIENT": client.pubkey, "SIGNER": key.pubkey}
    wanted = {
        name: [names.get(item, item) for item in value] if isinstance(value, list) else value
        for name, value in wanted.items()
    }
    assert await peer.subscribe("s", wanted) == []
    sent = [request(client, key.pubkey, str(number)) for number in range(20)]
    for event in sent:
        assert await other.publish(event) == (True, "")
    assert [m[2] for m in await peer.unread()] == [
        {**event.to_dict(), "tags": [list(tag) for tag in event.tags]} for event in sent
    ]


async def test_a_request_reaches_the_senders_own_subscription(peer: Peer, key: SecretKey) -> None:
    """Signer and client may share a connection."""
    await peer.subscribe("s", {"kinds": [24133], "#p": [key.pubkey]})
    event = request(SecretKey.generate(), key.pubkey)
    assert await peer.publish(event) == (True, "")
    assert (await peer.delivered("s"))["id"] == event.id


async def test_delivery_comes_before_the_senders_ok(peer: Peer, key: SecretKey) -> None:
    """An OK means that the event is on its way; on one connection the order shows it."""
    await peer.subscribe("s", {"#p": [key.pubkey]})
    await peer.send("EVENT", request(key, key.pubkey))
    assert [(await peer.next())[0] for _ in range(2)] == ["EVENT", "OK"]


async def test_nothing_waits_on_the_way(peer: Peer, other: Peer, key: SecretKey) -> None:
    """No batches and no database in between: a quarter of the deliveries take less than 80 ms."""
    await peer.subscribe("s", {"#p": [key.pubkey]})
    times = []
    for _ in range(31):
        event = request(SecretKey.generate(), key.pubkey)
        started = time.perf_counter()
        await other.send("EVENT", event)
        assert (await peer.delivered("s"))["id"] == event.id
        times.append(time.perf_counter() - started)
        await other.ok(event.id)
    assert statistics.quantiles(times)[0] < 0.08  # the others may wait for a processor


async def test_a_signing_request_is_never_stored(peer: Peer, other: Peer, key: SecretKey) -> None:
    """A signer that comes later gets nothing: old requests would be signed twice."""
    await other.subscribe("s", {"#p": [key.pubkey]})
    event = request(SecretKey.generate(), key.pubkey)
    await peer.publish(event)
    assert await peer.ids({"kinds": [24133], "#p": [key.pubkey]}) == []
    assert await peer.ids({"ids": [event.id]}) == []
    await peer.send("COUNT", "c", {"#p": [key.pubkey]})
    assert await peer.next() == ["COUNT", "c", {"count": 0}]


async def test_nobody_listening_is_said(peer: Peer, key: SecretKey) -> None:
    """The sender learns at once, by `mute:`, that its signer is offline."""
    accepted, reason = await peer.publish(request(key, NOBODY))
    assert accepted
    assert reason == "mute: no one is listening"


async def test_a_request_sent_again_reaches_who_has_not_had_it(
    peer: Peer, other: Peer, key: SecretKey
) -> None:
    """The same event twice: once for each subscription, the one that came in between too."""
    event = request(SecretKey.generate(), key.pubkey)
    assert (await other.publish(event))[1].startswith("mute:")
    await peer.subscribe("one", {"#p": [key.pubkey]})
    assert await other.publish(event) == (True, "")
    await peer.subscribe("two", {"#p": [key.pubkey]})
    assert await other.publish(event) == (True, "")
    accepted, reason = await other.publish(event)
    assert accepted
    assert reason.startswith("duplicate:")
    assert [m[1] for m in await peer.unread()] == ["one", "two"]


async def test_a_burst_of_a_thousand_requests_loses_nothing(
    peer: Peer, other: Peer, key: SecretKey
) -> None:
    """1,000 requests at once: all acknowledged, all delivered, in order."""
    await peer.subscribe("s", {"kinds": [24133], "#p": [key.pubkey]})
    client = SecretKey.generate()
    sent = [request(client, key.pubkey, str(number)) for number in range(1_000)]
    for event in sent:
        await other.send("EVENT", event)
    for event in sent:
        assert await other.next() == ["OK", event.id, True, ""]
    assert [m[2]["id"] for m in await peer.unread()] == [event.id for event in sent]


async def test_a_payload_of_the_largest_nip44_message_passes(
    peer: Peer, other: Peer, key: SecretKey
) -> None:
    """65,535 bytes of plaintext are 87,472 characters of content; twice that passes too."""
    await peer.subscribe("s", {"#p": [key.pubkey]})
    for size in (87_472, 174_944):
        event = request(SecretKey.generate(), key.pubkey, "x" * size)
        assert await other.publish(event) == (True, "")
        assert (await peer.delivered("s"))["content"] == "x" * size


@pytest.mark.parametrize("age", [-590, 590])
async def test_a_skewed_clock_is_tolerated(
    peer: Peer, other: Peer, key: SecretKey, age: int
) -> None:
    """Requests ten minutes off are carried, also into a live subscription without since."""
    await peer.subscribe("s", {"#p": [key.pubkey]})
    event = note(key, kind=24133, tags=(("p", key.pubkey),), created_at=int(time.time()) - age)
    assert await other.publish(event) == (True, "")
    assert (await peer.delivered("s"))["id"] == event.id


async def test_since_is_inclusive_for_live_requests(
    peer: Peer, other: Peer, key: SecretKey
) -> None:
    """A request of exactly the second of `since` is delivered, one of the second before is not."""
    await peer.subscribe("s", {"#p": [key.pubkey], "since": NOW})
    before, exact = (
        note(key, kind=24133, tags=(("p", key.pubkey),), created_at=NOW + shift)
        for shift in (-1, 0)
    )
    assert (await other.publish(before))[1].startswith("mute:")
    assert (await other.publish(exact)) == (True, "")
    assert [m[2]["id"] for m in await peer.unread()] == [exact.id]


async def test_re_issuing_a_subscription_loses_nothing(
    peer: Peer, other: Peer, key: SecretKey
) -> None:
    """While one client re-sends its REQ again and again, every request is delivered once."""
    client = SecretKey.generate()
    sent = [request(client, key.pubkey, str(number)) for number in range(300)]
    await peer.subscribe("s", {"kinds": [24133], "#p": [key.pubkey]})

    async def publish() -> None:
        for event in sent:
            assert (await other.publish(event)) == (True, "")

    async def renew() -> None:
        for number in range(100):
            await peer.send("REQ", "s", {"kinds": [24133], "#p": [key.pubkey], "since": number})
            await asyncio.sleep(0)

    await asyncio.gather(publish(), renew())
    got = [m[2]["id"] for m in await peer.unread() if m[0] == "EVENT"]
    assert got == [event.id for event in sent]


async def test_a_client_that_does_not_read_its_replies_stalls_nobody(
    peer: Peer, key: SecretKey, own: RelayProcess
) -> None:
    """10,000 events without reading one OK: others are served meanwhile, and no OK is lost."""
    async with Peer(own.url) as flooder:
        events = [note(key, str(number), kind=20001) for number in range(300)]
        texts = [event.to_json().decode() for event in events]
        for number in range(10_000):
            await flooder.send_text(f'["EVENT",{texts[number % 300]}]')
            if number % 2_500 == 0:
                assert (await peer.publish(note(key, f"meanwhile {number}")))[0]
        for number in range(10_000):
            message = await flooder.next()
            assert message[:3] == ["OK", events[number % 300].id, True]


async def test_nothing_ephemeral_is_on_disk(own: RelayProcess, key: SecretKey) -> None:
    """After traffic of ephemeral kinds no file of the state directory holds a trace of it."""
    marker, client = "ephemeral-" + NOBODY, SecretKey.generate()
    async with Peer(own.url) as peer:
        await peer.subscribe("s", {"#p": [key.pubkey]}, {"authors": [client.pubkey]})
        for kind in (20000, 24133, 22242, 29999):
            event = note(client, marker, kind=kind, tags=(("p", key.pubkey), ("t", marker)))
            await peer.publish(event)
        await peer.publish(note(client, "stored beside it"))
        assert await peer.ids({"#p": [key.pubkey]}) == []
    files = [path for path in own.data.rglob("*") if path.is_file()]
    content = b"".join(path.read_bytes() for path in files)
    assert b"stored beside it" in content  # the search would find it
    for trace in (marker, key.pubkey):
        assert trace.encode() not in content
        assert bytes.fromhex(key.pubkey) not in content
