"""NIP-01, filters: which of the live events a subscription is sent."""

import time
from typing import Any

from bunker.conformance.case import Level, case, expect
from bunker.conformance.relay.kit import RelayKit
from bunker.conformance.relay.subscriptions import events
from bunker.conformance.wire.peer import Refused, note
from bunker_core.event import VerifiedEvent

FILTER = "NIP-01, From client to relay: filters"


async def carried(
    relay: RelayKit, wanted: dict[str, Any], *sent: VerifiedEvent
) -> list[str] | None:
    """Subscribe with a filter, send events, return the ids that came; None if it is refused."""
    peer, other = await relay.peer("signer"), await relay.peer("client")
    try:
        await peer.subscribe("s", wanted)
    except Refused:
        return None
    for event in sent:
        await other.publish(event)
    return [message[2]["id"] for message in await events(peer)]


async def selects(
    relay: RelayKit, wanted: dict[str, Any], inside: VerifiedEvent, outside: VerifiedEvent
) -> None:
    got = await carried(relay, wanted, outside, inside)
    expect(got is not None, "the subscription was refused")
    expect(inside.id in (got or ()), "the event that matches did not come")
    expect(outside.id not in (got or ()), "an event that does not match came")


def to(relay: RelayKit, pubkey: str, **changes: Any) -> VerifiedEvent:
    options: dict[str, Any] = {"kind": 24133, "tags": (("p", pubkey),), **changes}
    return note(relay.key(), relay.key().pubkey, **options)


@case("relay/filter/p", Level.MUST, FILTER)
async def p(relay: RelayKit) -> None:
    """#p selects by the p tag. Sent: an event to the signer, one to another."""
    signer, other = relay.key().pubkey, relay.key().pubkey
    await selects(relay, {"#p": [signer], "kinds": [24133]}, to(relay, signer), to(relay, other))


@case("relay/filter/second-p", Level.MUST, "NIP-01, filters: at least one item in common")
async def second_p(relay: RelayKit) -> None:
    """A second p tag counts as the first. Sent: an event with two p tags, one with another."""
    signer, other = relay.key().pubkey, relay.key().pubkey
    both = to(relay, signer, tags=(("p", other), ("p", signer)))
    await selects(relay, {"#p": [signer], "kinds": [24133]}, both, to(relay, other))


@case("relay/filter/first-value", Level.MUST, "NIP-01, Tags: only the first value is indexed")
async def first_value(relay: RelayKit) -> None:
    """Only the first value of a tag counts. Sent: an event whose p tag has the key third."""
    signer, other = relay.key().pubkey, relay.key().pubkey
    third = to(relay, other, tags=(("p", other, signer),))
    await selects(relay, {"#p": [signer], "kinds": [24133]}, to(relay, signer), third)


@case("relay/filter/authors", Level.MUST, FILTER)
async def authors(relay: RelayKit) -> None:
    """authors selects by author. Sent: an event of the signer, one of another, to one client."""
    client, signer = relay.key().pubkey, relay.key()
    inside = note(signer, "inside", kind=24133, tags=(("p", client),))
    wanted = {"kinds": [24133], "authors": [signer.pubkey], "#p": [client]}
    await selects(relay, wanted, inside, to(relay, client))


@case("relay/filter/kinds", Level.MUST, FILTER)
async def kinds(relay: RelayKit) -> None:
    """kinds selects by kind. Sent: kinds 24133 and 24134 to one key."""
    signer = relay.key().pubkey
    await selects(
        relay,
        {"kinds": [24133], "#p": [signer]},
        to(relay, signer),
        to(relay, signer, kind=24134),
    )


@case("relay/filter/since", Level.MUST, "NIP-01, filters: since <= created_at")
async def since(relay: RelayKit) -> None:
    """since includes its own second. Sent: events of that second and of the one before."""
    signer, now = relay.key().pubkey, int(time.time())
    await selects(
        relay,
        {"kinds": [24133], "#p": [signer], "since": now},
        to(relay, signer, created_at=now),
        to(relay, signer, created_at=now - 1),
    )


@case("relay/filter/until", Level.MUST, "NIP-01, filters: created_at <= until")
async def until(relay: RelayKit) -> None:
    """until includes its own second. Sent: events of that second and of the one after."""
    signer, now = relay.key().pubkey, int(time.time())
    await selects(
        relay,
        {"kinds": [24133], "#p": [signer], "until": now - 10},
        to(relay, signer, created_at=now - 10),
        to(relay, signer, created_at=now - 9),
    )


@case("relay/filter/limit-not-live", Level.MUST, "NIP-01: limit MUST be ignored afterwards")
async def limit_not_live(relay: RelayKit) -> None:
    """limit bounds the stored events alone. Sent: REQ with limit 1, then five live events."""
    signer = relay.key().pubkey
    sent = [to(relay, signer) for _ in range(5)]
    got = await carried(relay, {"kinds": [24133], "#p": [signer], "limit": 1}, *sent)
    expect(got == [event.id for event in sent], f"{len(got or ())} of 5 events came")


@case("relay/filter/limit-0-live", Level.MUST, "NIP-01: limit MUST be ignored afterwards")
async def limit_0_live(relay: RelayKit) -> None:
    """limit 0 asks for live events alone. Sent: REQ with limit 0, then five live events."""
    signer = relay.key().pubkey
    sent = [to(relay, signer) for _ in range(5)]
    got = await carried(relay, {"kinds": [24133], "#p": [signer], "limit": 0}, *sent)
    expect(got == [event.id for event in sent], f"{len(got or ())} of 5 events came")


@case("relay/filter/empty-list", Level.SHOULD, "NIP-01, filters: arrays with one or more values")
async def empty_list(relay: RelayKit) -> None:
    """An empty list matches nothing, or is refused. Sent: REQ {"kinds":[24133],"#p":[]}."""
    got = await carried(relay, {"kinds": [24133], "#p": []}, to(relay, relay.key().pubkey))
    expect(not got, "an empty list was taken for no condition: everybody's requests came")


@case("relay/filter/unknown-field", Level.SHOULD, "NIP-01, From relay to client: `unsupported:`")
async def unknown_field(relay: RelayKit) -> None:
    """An unknown condition never widens a filter. Sent: REQ with "#p" and "unheard-of"."""
    signer = relay.key().pubkey
    wanted = {"kinds": [24133], "#p": [signer], "unheard-of": ["x"]}
    other = to(relay, relay.key().pubkey)
    got = await carried(relay, wanted, other)
    expect(other.id not in (got or ()), "another signer's request came")


@case("relay/filter/upper-case", Level.SHOULD, "NIP-01: exact 64-character lowercase hex values")
async def upper_case(relay: RelayKit) -> None:
    """Upper-case hex is refused or matches nothing. Sent: REQ with an upper-case #p."""
    signer = relay.key().pubkey
    got = await carried(relay, {"kinds": [24133], "#p": [signer.upper()]}, to(relay, signer))
    expect(not got, "upper case matched")


@case("relay/filter/wide-values", Level.SHOULD, "practice: a bunker for a hundred clients")
async def wide_values(relay: RelayKit) -> None:
    """A filter of 100 values works. Sent: REQ with 100 keys in #p, an event to the last."""
    keys = [relay.key().pubkey for _ in range(100)]
    event = to(relay, keys[-1])
    got = await carried(relay, {"kinds": [24133], "#p": keys}, event)
    expect(got == [event.id], "refused" if got is None else "the event did not come")
