"""NIP-42: authentication, for relays that offer it."""

import time
from typing import Any

from bunker.conformance.case import Level, NotOffered, case, expect
from bunker.conformance.relay.kit import RelayKit
from bunker.conformance.relay.subscriptions import events
from bunker.conformance.wire.peer import Peer, note
from bunker_core.keys import SecretKey

OK = "NIP-42: AUTH MUST be answered with an OK message"
VERIFY = "NIP-42, Signed event verification"
# What a relay guards if it guards anything: asking for it makes it send its challenge.
GUARDED: tuple[dict[str, Any], ...] = (
    {"kinds": [24133]},
    {"kinds": [4]},
    {"kinds": [1059]},
)


async def challenged(relay: RelayKit) -> Peer:
    """Return a connection with a challenge; raises NotOffered."""
    peer = await relay.peer()
    await peer.alive()
    for number, wanted in enumerate(GUARDED):
        if peer.challenge is None:
            await peer.send("REQ", f"guarded-{number}", wanted)
            await peer.alive()
    if peer.challenge is None:
        # NIP-70: a protected event needs its author authenticated.
        await peer.send("EVENT", note(relay.key(), tags=(("-",),)))
        await peer.alive()
    if peer.challenge is None:
        raise NotOffered("sends no challenge")
    await peer.unread()
    return peer


async def refuses(relay: RelayKit, **changes: Any) -> None:
    peer = await challenged(relay)
    if "tags" in changes:
        changes["tags"] = tuple(
            (name, value.format(url=relay.target.url, challenge=peer.challenge))
            for name, value in changes["tags"]
        )
    accepted, reason = await peer.authenticate(relay.key(), **changes)
    expect(accepted is False, f"accepted: OK {accepted} {reason!r}")


@case("relay/auth/ok", Level.MUST, OK)
async def ok(relay: RelayKit) -> None:
    """A sound AUTH is answered with OK true. Sent: AUTH with relay and challenge."""
    peer = await challenged(relay)
    accepted, reason = await peer.authenticate(relay.key())
    if not accepted and reason.startswith(("restricted:", "blocked:")):
        raise NotOffered(f"for its own people: {reason}")
    expect(accepted, f"refused: {reason}")


@case("relay/auth/two-keys", Level.MUST, "NIP-42: relays MUST treat all pubkeys as authenticated")
async def two_keys(relay: RelayKit) -> None:
    """A second pubkey on one connection is taken. Sent: two AUTH of two keys."""
    peer = await challenged(relay)
    for key in (SecretKey.generate(), SecretKey.generate()):
        accepted, reason = await peer.authenticate(key)
        expect(accepted, f"refused: {reason}")


@case("relay/auth/wrong-challenge", Level.MUST, VERIFY)
async def wrong_challenge(relay: RelayKit) -> None:
    """Another challenge is refused. Sent: AUTH with the challenge "other"."""
    await refuses(relay, tags=(("relay", "{url}"), ("challenge", "other")))


@case("relay/auth/wrong-relay", Level.MUST, VERIFY)
async def wrong_relay(relay: RelayKit) -> None:
    """Another relay's name is refused. Sent: AUTH with relay wss://elsewhere.example."""
    tags = (("relay", "wss://elsewhere.example"), ("challenge", "{challenge}"))
    await refuses(relay, tags=tags)


@case("relay/auth/no-challenge-tag", Level.MUST, VERIFY)
async def no_challenge_tag(relay: RelayKit) -> None:
    """AUTH without a challenge is refused. Sent: AUTH with a relay tag alone."""
    await refuses(relay, tags=(("relay", "{url}"),))


@case("relay/auth/wrong-kind", Level.MUST, VERIFY)
async def wrong_kind(relay: RelayKit) -> None:
    """Another kind is refused. Sent: AUTH of kind 1."""
    await refuses(relay, kind=1)


@case("relay/auth/old", Level.SHOULD, VERIFY)
async def old(relay: RelayKit) -> None:
    """An AUTH an hour old is refused. Sent: created_at of an hour ago."""
    await refuses(relay, created_at=int(time.time()) - 3_600)


@case("relay/auth/other-connection", Level.MUST, "NIP-42: valid for the duration of the connection")
async def other_connection(relay: RelayKit) -> None:
    """A challenge serves one connection. Sent: AUTH with the challenge of another connection."""
    first, second = await challenged(relay), await challenged(relay)
    expect(first.challenge != second.challenge, "two connections have one challenge")
    second.challenge = first.challenge
    accepted, _ = await second.authenticate(relay.key())
    expect(accepted is False, "accepted")


@case("relay/auth/never-broadcast", Level.MUST, "NIP-42: MUST exclude kind 22242 from broadcasts")
async def never_broadcast(relay: RelayKit) -> None:
    """Kind 22242 reaches nobody. Sent: an EVENT of kind 22242, while others subscribe to it."""
    reader, writer, key = await relay.peer("reader"), await relay.peer("writer"), relay.key()
    await reader.send("REQ", "s", {"kinds": [22242], "authors": [key.pubkey]})
    await reader.send("REQ", "t", {"authors": [key.pubkey]})
    await reader.alive()
    await writer.send("EVENT", note(key, kind=22242, tags=(("challenge", "x"),)))
    await writer.next()
    expect(not await events(reader), "it was broadcast")
