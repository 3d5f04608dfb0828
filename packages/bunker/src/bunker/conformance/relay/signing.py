"""NIP-46 over a relay: kind 24133, carried and never kept."""

import asyncio
import statistics
import time
from typing import Any

from bunker.conformance.case import Level, NotOffered, case, expect
from bunker.conformance.relay.kit import RelayKit
from bunker.conformance.relay.subscriptions import events, to
from bunker.conformance.wire.peer import Peer, Refused, request
from bunker_core.event import VerifiedEvent
from bunker_core.keys import SecretKey

NEW = "NIP-01, REQ: any new events SHOULD be sent to that same websocket"
EPHEMERAL = "NIP-01, Kinds: ephemeral events are not expected to be stored"
MUTE = "NIP-01, From relay to client: mute"
LIBRARY = "practice: how a library subscribes"


async def pair(relay: RelayKit, **more: Any) -> tuple[Peer, Peer, SecretKey]:
    """Return a signer's connection, subscribed, a client's connection, and the signer's key."""
    signer, client, key = await relay.peer("signer"), await relay.peer("client"), relay.key()
    await signer.subscribe("s", to(key.pubkey, **more))
    return signer, client, key


async def sent(client: Peer, event: VerifiedEvent) -> None:
    accepted, reason = await client.publish(event)
    expect(accepted, f"OK false {reason!r}")


@case("relay/24133/forwarded-to-p", Level.MUST, NEW)
async def forwarded_to_p(relay: RelayKit) -> None:
    """A request reaches who subscribed to its p tag. Sent: EVENT of kind 24133 to a signer."""
    signer, client, key = await pair(relay)
    event = request(relay.key(), key.pubkey)
    await sent(client, event)
    got = await signer.delivered("s")
    expect(got["id"] == event.id, "another event came")


@case("relay/24133/unchanged", Level.MUST, "NIP-01, Events and signatures")
async def unchanged(relay: RelayKit) -> None:
    """It comes with the seven fields as they were sent. Sent: a request with content and tags."""
    signer, client, key = await pair(relay)
    event = request(relay.key(), key.pubkey, 'a?iv= "ä" 🦊 \\')
    await sent(client, event)
    plain = {**event.to_dict(), "tags": [list(tag) for tag in event.tags]}
    got = await signer.delivered("s")
    expect(got == plain, f"fields differ: {sorted(k for k in plain if got.get(k) != plain[k])}")


@case("relay/24133/back-to-client", Level.MUST, NEW)
async def back_to_client(relay: RelayKit) -> None:
    """A response reaches the client that waits by author and p. Sent: as nostr-tools does."""
    client, signer = await relay.peer("client"), await relay.peer("signer")
    ours, theirs = relay.key(), relay.key()
    await client.subscribe("s", to(ours.pubkey, authors=[theirs.pubkey], limit=0))
    event = request(theirs, ours.pubkey)
    await sent(signer, event)
    expect((await client.delivered("s"))["id"] == event.id, "another event came")


@case("relay/24133/own-connection", Level.SHOULD, NEW)
async def own_connection(relay: RelayKit) -> None:
    """An event reaches a subscription of its own sender. Sent: REQ and EVENT on one connection."""
    peer, key = await relay.peer(), relay.key()
    await peer.subscribe("s", to(key.pubkey))
    event = request(relay.key(), key.pubkey)
    await peer.publish(event)
    expect((await peer.delivered("s"))["id"] == event.id, "another event came")


@case("relay/24133/not-to-others", Level.MUST, "NIP-01, filters")
async def not_to_others(relay: RelayKit) -> None:
    """Who subscribed to another signer gets nothing. Sent: a request to a second signer."""
    signer, client, _ = await pair(relay)
    await client.publish(request(relay.key(), relay.key().pubkey))
    expect(not await events(signer), "another signer's request came")


@case("relay/24133/not-stored", Level.SHOULD, EPHEMERAL)
async def not_stored(relay: RelayKit) -> None:
    """A signer that comes later gets no old requests. Sent: a request, then a REQ for it."""
    _, client, key = await pair(relay)
    event = request(relay.key(), key.pubkey)
    await client.publish(event)
    late = await relay.peer("late")
    found = await late.subscribe("p", to(key.pubkey))
    found += await late.subscribe("id", {"ids": [event.id]})
    expect(not found, "an old request came: a signer that restarts would sign twice")


@case("relay/24133/not-stored-unheard", Level.SHOULD, EPHEMERAL)
async def not_stored_unheard(relay: RelayKit) -> None:
    """Nor one that nobody heard. Sent: a request while no signer is there, then its REQ."""
    client, key = await relay.peer("client"), relay.key()
    await client.publish(request(relay.key(), key.pubkey))
    found = await (await relay.peer("late")).subscribe("p", to(key.pubkey))
    expect(not found, "an old request came")


@case("relay/24133/mute", Level.MAY, MUTE)
async def mute(relay: RelayKit) -> None:
    """The sender learns that nobody listens. Sent: a request to a key without subscription."""
    _accepted, reason = await (await relay.peer()).publish(request(relay.key(), relay.key().pubkey))
    if not reason.startswith("mute:"):
        raise NotOffered("says nothing when nobody listens")


@case("relay/24133/mute-is-no-failure", Level.SHOULD, "practice: nostr-tools takes false for lost")
async def mute_is_no_failure(relay: RelayKit) -> None:
    """A request that nobody hears is OK true all the same. Sent: a request to nobody."""
    accepted, reason = await (await relay.peer()).publish(request(relay.key(), relay.key().pubkey))
    expect(accepted, f"OK false {reason!r}: nostr-tools rejects the request at once")


@case("relay/24133/again-to-new", Level.SHOULD, "practice: clients send a request again")
async def again_to_new(relay: RelayKit) -> None:
    """A request sent again reaches a signer that came in between. Sent: one event, twice."""
    client, key = await relay.peer("client"), relay.key()
    event = request(relay.key(), key.pubkey)
    await client.publish(event)
    signer = await relay.peer("signer")
    await signer.subscribe("s", to(key.pubkey))
    await client.publish(event)
    got = [message[2]["id"] for message in await events(signer)]
    expect(got == [event.id], "the second sending did not reach the signer")


@case("relay/24133/once", Level.SHOULD, "practice: a request that comes twice is signed twice")
async def once(relay: RelayKit) -> None:
    """A subscription gets an event once. Sent: one event from two connections."""
    signer, client, key = await pair(relay)
    event = request(relay.key(), key.pubkey)
    await client.publish(event)
    await (await relay.peer("client again")).publish(event)
    got = await events(signer)
    expect(len(got) == 1, f"it came {len(got)} times")


@case("relay/24133/in-order", Level.SHOULD, "practice: one connection's events keep their order")
async def in_order(relay: RelayKit) -> None:
    """Requests of one connection come in their order. Sent: 50 requests without waiting."""
    signer, client, key = await pair(relay)
    made = [request(relay.key(), key.pubkey) for _ in range(50)]
    for event in made:
        await client.send("EVENT", event)
    for event in made:
        await client.ok(event.id)
    got = [message[2]["id"] for message in await events(signer)]
    expect(len(got) == len(made), f"{len(got)} of {len(made)} came")
    expect(got == [event.id for event in made], "they came in another order")


@case("relay/24133/two-signers", Level.MUST, NEW)
async def two_signers(relay: RelayKit) -> None:
    """Everyone who subscribed gets the event. Sent: one request, two subscribed connections."""
    signer, client, key = await pair(relay)
    second = await relay.peer("second")
    await second.subscribe("s", to(key.pubkey))
    event = request(relay.key(), key.pubkey)
    await sent(client, event)
    for peer in (signer, second):
        expect((await peer.delivered("s"))["id"] == event.id, f"{peer.name} got another")


@case("relay/24133/since-now", Level.SHOULD, f"{LIBRARY}: nak, since now and limit 0")
async def since_now(relay: RelayKit) -> None:
    """A live event of this second passes since=now. Sent: REQ with since now and limit 0."""
    signer, client, key = await pair(relay, since=int(time.time()), limit=0)
    event = request(relay.key(), key.pubkey)
    await sent(client, event)
    expect((await signer.delivered("s"))["id"] == event.id, "another event came")


@case("relay/24133/limit-1-since", Level.SHOULD, f"{LIBRARY}: Amber, limit 1 and since")
async def limit_1_since(relay: RelayKit) -> None:
    """limit 1 with since is a live subscription. Sent: such a REQ, then three requests."""
    signer, client, key = await pair(relay, since=int(time.time()) - 300, limit=1)
    for _ in range(3):
        await sent(client, request(relay.key(), key.pubkey))
    expect(len(await events(signer)) == 3, "not all came")


@case("relay/24133/p-alone", Level.SHOULD, f"{LIBRARY}: filters without kinds")
async def p_alone(relay: RelayKit) -> None:
    """A filter of #p alone hears requests. Sent: REQ {"#p":[SIGNER]}."""
    signer, client, key = await relay.peer("signer"), await relay.peer("client"), relay.key()
    try:
        await signer.subscribe("s", {"#p": [key.pubkey]})
    except Refused as refusal:
        raise NotOffered(f"asks for kinds: {refusal}") from None
    event = request(relay.key(), key.pubkey)
    await sent(client, event)
    expect((await signer.delivered("s"))["id"] == event.id, "another event came")


async def skewed(relay: RelayKit, seconds: int) -> None:
    signer, client, key = await pair(relay)
    event = request(relay.key(), key.pubkey, created_at=int(time.time()) + seconds)
    accepted, reason = await client.publish(event)
    expect(accepted, f"refused: {reason}")
    expect((await signer.delivered("s"))["id"] == event.id, "another event came")


@case("relay/24133/clock-behind", Level.SHOULD, "practice: phones' clocks are minutes off")
async def clock_behind(relay: RelayKit) -> None:
    """A request five minutes old is carried. Sent: created_at of 300 seconds ago."""
    await skewed(relay, -300)


@case("relay/24133/clock-ahead", Level.SHOULD, "practice: phones' clocks are minutes off")
async def clock_ahead(relay: RelayKit) -> None:
    """A request of five minutes ahead is carried. Sent: created_at in 300 seconds."""
    await skewed(relay, 300)


@case("relay/24133/no-auth", Level.SHOULD, "practice: nostr-tools' signer has no onauth")
async def no_auth(relay: RelayKit) -> None:
    """A client that does not authenticate is carried. Sent: a request without AUTH."""
    client, key = await relay.peer("client"), relay.key()
    await client.subscribe("s", to(key.pubkey))
    accepted, reason = await client.publish(request(relay.key(), key.pubkey))
    expect(accepted, f"refused: {reason}")


@case("relay/24133/re-issued", Level.SHOULD, "NIP-01, REQ: replacing the old one")
async def re_issued(relay: RelayKit) -> None:
    """A REQ sent anew loses nothing. Sent: the same REQ 30 times while 60 requests come."""
    signer, client, key = await pair(relay)
    made = [request(relay.key(), key.pubkey) for _ in range(60)]

    async def publish() -> None:
        for event in made:
            await client.publish(event)

    async def renew() -> None:
        for number in range(30):
            await signer.send("REQ", "s", to(key.pubkey, since=number))
            await asyncio.sleep(0)

    await asyncio.gather(publish(), renew())
    got = {message[2]["id"] for message in await events(signer)}
    missing = len(made) - len(got)
    expect(not missing, f"{missing} of {len(made)} requests were lost")


@case("relay/24133/quick", Level.SHOULD, "practice: a login is ten messages in a row", alone=True)
async def quick(relay: RelayKit) -> None:
    """Half of the deliveries take less than 100 ms. Sent: 21 requests, one by one."""
    signer, client, key = await pair(relay)
    times = []
    for _ in range(21):
        event = request(relay.key(), key.pubkey)
        began = time.perf_counter()
        await client.send("EVENT", event)
        await signer.delivered("s")
        times.append(time.perf_counter() - began)
        await client.ok(event.id)
    median = statistics.median(times) * 1000
    signer.note(f"median {median:.1f} ms")
    expect(median < 100, f"the median is {median:.0f} ms: the relay sends in batches")
