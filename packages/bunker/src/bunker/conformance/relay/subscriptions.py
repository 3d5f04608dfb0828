"""NIP-01, subscriptions: REQ, EOSE, CLOSE and CLOSED."""

from typing import Any

from bunker.conformance.case import Level, NotOffered, case, expect
from bunker.conformance.relay.kit import RelayKit
from bunker.conformance.wire.peer import NOBODY, Message, Refused, request

REQ = "NIP-01, From client to relay: REQ"
REPLIES = "NIP-01, From relay to client"
KEEPALIVE = "practice: nostr-tools' keep-alive waits for EOSE to a REQ with limit 0"


def to(pubkey: str, **more: Any) -> dict[str, Any]:
    """Return the filter of a signer."""
    return {"kinds": [24133], "#p": [pubkey], **more}


async def ends_with_eose(relay: RelayKit, *filters: Any, name: str = "s") -> None:
    peer = await relay.peer()
    try:
        await peer.subscribe(name, *filters)
    except Refused as refusal:
        expect(False, str(refusal))


@case("relay/req/eose", Level.MUST, REPLIES)
async def eose(relay: RelayKit) -> None:
    """A subscription is answered with EOSE. Sent: REQ {"kinds":[24133],"#p":[SIGNER]}."""
    await ends_with_eose(relay, to(relay.key().pubkey))


@case("relay/req/eose-limit-0", Level.SHOULD, KEEPALIVE)
async def eose_limit_0(relay: RelayKit) -> None:
    """A filter with limit 0 gets EOSE as every other. Sent: REQ {"ids":["ff…"],"limit":0}."""
    await ends_with_eose(relay, {"ids": [NOBODY], "limit": 0}, name="<forced-ping>:1")


@case("relay/req/eose-again", Level.MUST, REPLIES)
async def eose_again(relay: RelayKit) -> None:
    """The same REQ sent again gets its EOSE again. Sent: the same REQ twice."""
    peer = await relay.peer()
    key = relay.key()
    await peer.subscribe("s", to(key.pubkey))
    await peer.subscribe("s", to(key.pubkey))


@case("relay/req/id-of-64", Level.MUST, REQ)
async def id_of_64(relay: RelayKit) -> None:
    """A subscription id of 64 characters is taken. Sent: REQ with such an id."""
    await ends_with_eose(relay, to(relay.key().pubkey), name="x" * 64)


@case("relay/req/id-arbitrary", Level.MUST, REQ)
async def id_arbitrary(relay: RelayKit) -> None:
    """A subscription id is echoed as it came. Sent: REQ with quotes, a backslash and a fox."""
    await ends_with_eose(relay, to(relay.key().pubkey), name='a "b" \\ 🦊 <ping>:1')


@case("relay/req/id-empty", Level.SHOULD, REQ)
async def id_empty(relay: RelayKit) -> None:
    """An empty subscription id is refused, and the connection lives. Sent: REQ with id ""."""
    peer = await relay.peer()
    await peer.send("REQ", "", to(relay.key().pubkey))
    message = await peer.next()
    expect(message[0] in ("NOTICE", "CLOSED"), f"answered with {message}")
    await peer.alive()


@case("relay/req/refusal-is-closed", Level.MUST, "NIP-01, From relay to client: CLOSED")
async def refusal_is_closed(relay: RelayKit) -> None:
    """A REQ that is refused gets CLOSED with a prefix. Sent: REQ {"ids":["not hex"]}."""
    peer = await relay.peer()
    await peer.send("REQ", "s", {"ids": ["not hex"]})
    message = await peer.next("CLOSED or EOSE")
    expect(message[0] in ("CLOSED", "EOSE"), f"answered with {message}")
    if message[0] == "CLOSED":
        expect(message[1] == "s", "CLOSED names another subscription")
        expect(":" in message[2], f"the reason {message[2]!r} has no prefix")


@case("relay/req/close", Level.MUST, REQ)
async def close(relay: RelayKit) -> None:
    """After CLOSE nothing comes any more. Sent: REQ, CLOSE, then an event that matched."""
    peer, other, key = await relay.peer(), await relay.peer("sender"), relay.key()
    await peer.subscribe("s", to(key.pubkey))
    await peer.send("CLOSE", "s")
    await peer.alive()
    await other.publish(request(relay.key(), key.pubkey))
    rest = await peer.unread()
    expect(not [m for m in rest if m[0] == "EVENT"], "an event came after CLOSE")


@case("relay/req/close-unknown", Level.SHOULD, REQ)
async def close_unknown(relay: RelayKit) -> None:
    """CLOSE of a subscription that is not there harms nothing. Sent: CLOSE "none"."""
    peer = await relay.peer()
    await peer.send("CLOSE", "none")
    await peer.alive()


@case("relay/req/replaced", Level.MUST, REQ)
async def replaced(relay: RelayKit) -> None:
    """A REQ with a used id takes its place. Sent: REQ for A, REQ for B, an event to each."""
    peer, other = await relay.peer(), await relay.peer("sender")
    first, second = relay.key(), relay.key()
    await peer.subscribe("s", to(first.pubkey))
    await peer.subscribe("s", to(second.pubkey))
    await other.publish(request(relay.key(), first.pubkey))
    event = request(relay.key(), second.pubkey)
    await other.publish(event)
    got = [m[2]["id"] for m in await events(peer)]
    expect(got == [event.id], f"{len(got)} events came where one is to come")


@case("relay/req/ids-by-connection", Level.MUST, REQ)
async def ids_by_connection(relay: RelayKit) -> None:
    """Subscription ids of two connections are two. Sent: the id "s" on both, for two keys."""
    one, two, sender = await relay.peer("one"), await relay.peer("two"), await relay.peer("sender")
    first, second = relay.key(), relay.key()
    await one.subscribe("s", to(first.pubkey))
    await two.subscribe("s", to(second.pubkey))
    event = request(relay.key(), first.pubkey)
    await sender.publish(event)
    expect([m[2]["id"] for m in await events(one)] == [event.id], "the first got nothing")
    expect(not await events(two), "the second got the first one's event")


@case("relay/req/filters-are-or", Level.MUST, "NIP-01, REQ: several filters are ||")
async def filters_are_or(relay: RelayKit) -> None:
    """An event that matches one of several filters comes. Sent: REQ with two filters."""
    peer, other = await relay.peer(), await relay.peer("sender")
    first, second = relay.key(), relay.key()
    await peer.subscribe("s", to(first.pubkey), to(second.pubkey))
    sent = [request(relay.key(), key.pubkey) for key in (first, second)]
    for event in sent:
        await other.publish(event)
    got = [m[2]["id"] for m in await events(peer)]
    expect(got == [event.id for event in sent], f"{len(got)} of 2 events came")


@case("relay/req/several-subscriptions", Level.MUST, REPLIES)
async def several_subscriptions(relay: RelayKit) -> None:
    """An event comes for every subscription that it matches. Sent: two REQs for one signer."""
    peer, other, key = await relay.peer(), await relay.peer("sender"), relay.key()
    await peer.subscribe("one", to(key.pubkey))
    await peer.subscribe("two", to(key.pubkey))
    await other.publish(request(relay.key(), key.pubkey))
    names = sorted(m[1] for m in await events(peer))
    expect(names == ["one", "two"], f"it came for {names}")


@case("relay/req/twenty-subscriptions", Level.SHOULD, "practice: an app with several accounts")
async def twenty_subscriptions(relay: RelayKit) -> None:
    """Twenty subscriptions on one connection are served. Sent: 20 REQs, for 20 keys."""
    peer = await relay.peer()
    for number in range(20):
        try:
            await peer.subscribe(f"s{number}", to(relay.key().pubkey))
        except Refused as refusal:
            expect(False, f"subscription {number + 1} refused: {refusal}")


@case("relay/req/max-subscriptions-true", Level.SHOULD, "NIP-11, Server limitations")
async def max_subscriptions_true(relay: RelayKit) -> None:
    """As many subscriptions as the document names are served. Sent: so many REQs, at most 50."""
    most = min(await relay.limitation("max_subscriptions"), 50)
    peer = await relay.peer()
    for number in range(most):
        try:
            await peer.subscribe(f"s{number}", {"ids": [NOBODY]})
        except Refused as refusal:
            expect(False, f"subscription {number + 1} of {most} refused: {refusal}")


async def events(peer: Any) -> list[Message]:
    """Return the EVENT messages that have come."""
    return [message for message in await peer.unread() if message[0] == "EVENT"]


@case("relay/req/count-answered", Level.MAY, "NIP-45")
async def count_answered(relay: RelayKit) -> None:
    """COUNT is answered with COUNT or CLOSED. Sent: COUNT {"kinds":[24133],"#p":[SIGNER]}."""
    peer = await relay.peer()
    await peer.send("COUNT", "c", to(relay.key().pubkey))
    message = await peer.next("COUNT or CLOSED")
    if message[0] == "NOTICE":
        raise NotOffered(f"NOTICE {message[1]}")
    expect(message[0] in ("COUNT", "CLOSED"), f"answered with {message}")
