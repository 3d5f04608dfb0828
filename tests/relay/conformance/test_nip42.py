"""NIP-42 over the wire: a connection proves keys, and only its own challenge counts."""

import time

import pytest

from bunker_core.keys import SecretKey
from support.wire import Peer, note, request

NOW = int(time.time())


async def test_every_connection_gets_its_own_challenge(peer: Peer, other: Peer) -> None:
    """The challenge comes to whom it would help, and no two are alike."""
    one, two = await peer.hear_challenge(), await other.hear_challenge()
    assert one != two
    assert len(one) >= 16


async def test_a_client_that_needs_no_challenge_gets_none(peer: Peer, key: SecretKey) -> None:
    """Some clients close their subscriptions on AUTH: signing, and notes, go without it."""
    await peer.subscribe("s", {"kinds": [24133], "#p": [key.pubkey], "limit": 0})
    await peer.subscribe("t", {"authors": [key.pubkey]})
    sent = request(key, key.pubkey)
    assert (await peer.publish(sent))[0]
    assert (await peer.delivered("s"))["id"] == sent.id
    assert (await peer.publish(note(key)))[0]
    await peer.unread()
    assert peer.challenge is None


async def test_nobody_has_to_authenticate(peer: Peer, key: SecretKey) -> None:
    """Clients that never answer the challenge publish and subscribe."""
    assert (await peer.publish(note(key)))[0]
    assert await peer.subscribe("s", {"authors": [key.pubkey], "limit": 0}) == []


async def test_one_connection_may_prove_several_pubkeys(peer: Peer) -> None:
    """Each key that answers the challenge is authenticated, and stays so."""
    keys = [SecretKey.generate() for _ in range(3)]
    for key in keys:
        assert await peer.authenticate(key) == (True, "")
    for key in keys:
        assert (await peer.publish(note(key, tags=(("-",),))))[0]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("kind", {"kind": 1}),
        ("kind", {"kind": 24133}),
        ("created_at", {"created_at": NOW - 3_600}),
        ("created_at", {"created_at": NOW + 3_600}),
        ("challenge", {"tags": ()}),
        ("challenge", {"tags": (("relay", "ws://x"), ("challenge", "another"))}),
        ("challenge", {"tags": (("relay", "ws://x"), ("challenge", "x\x00☂"))}),
        ("challenge", {"tags": (("challenge",), ("relay",))}),
    ],
)
async def test_an_auth_that_does_not_fit_is_refused(
    peer: Peer, key: SecretKey, name: str, changes: dict[str, object]
) -> None:
    """OK false says what does not match, and nobody is authenticated."""
    accepted, reason = await peer.authenticate(key, **changes)
    assert not accepted
    assert reason.startswith("invalid:")
    assert name in reason
    assert not (await peer.publish(note(key, tags=(("-",),))))[0]


@pytest.mark.parametrize("url", ["ws://another.example.com", "wss://127.0.0.1", "not a url", ""])
async def test_an_auth_for_another_relay_is_refused(peer: Peer, key: SecretKey, url: str) -> None:
    """The relay tag has to name this relay: another one may have forwarded our challenge."""
    challenge = await peer.hear_challenge()
    tags = (("relay", url), ("challenge", challenge))
    accepted, reason = await peer.authenticate(key, tags=tags)
    assert not accepted
    assert reason == "invalid: relay does not match"


async def test_an_auth_of_another_connection_is_refused(
    peer: Peer, other: Peer, key: SecretKey
) -> None:
    """An answer can't be replayed on a second connection."""
    tags = (("relay", other.url), ("challenge", await peer.hear_challenge()))
    accepted, _ = await other.authenticate(key, tags=tags)
    assert not accepted
    assert (await peer.authenticate(key, tags=tags))[0]


async def test_an_auth_with_a_bad_signature_is_refused(peer: Peer, key: SecretKey) -> None:
    """The signature is checked like any other."""
    challenge = await peer.hear_challenge()
    tags = (("relay", peer.url), ("challenge", challenge))
    event = note(key, kind=22242, tags=tags).to_dict() | {"sig": "0" * 128}
    await peer.send("AUTH", event)
    accepted, reason = await peer.ok(event["id"])
    assert (accepted, reason) == (False, "invalid: signature does not match")


async def test_a_hundred_auths_are_bounded(peer: Peer) -> None:
    """After some pubkeys OK false says `rate-limited:`; a known one may still repeat itself."""
    keys = [SecretKey.generate() for _ in range(100)]
    replies = [await peer.authenticate(key) for key in keys]
    accepted = [ok for ok, _ in replies]
    assert accepted[0]
    assert not accepted[-1]
    assert accepted == sorted(accepted, reverse=True)
    assert replies[-1][1].startswith("rate-limited:")
    assert (await peer.authenticate(keys[0]))[0]


async def test_kind_22242_is_never_broadcast(peer: Peer, other: Peer, key: SecretKey) -> None:
    """As EVENT it is refused; as AUTH it reaches no subscription, not even one for it."""
    await other.subscribe("s", {"kinds": [22242]}, {"authors": [key.pubkey]})
    accepted, reason = await peer.publish(note(key, kind=22242))
    assert not accepted
    assert reason.startswith("invalid:")
    assert (await peer.authenticate(key))[0]
    assert await other.unread() == []
    assert await peer.ids({"authors": [key.pubkey]}) == []


async def test_a_protected_event_needs_its_author(peer: Peer, other: Peer, key: SecretKey) -> None:
    """NIP-70: `auth-required:` for the unknown, `restricted:` for another, then accepted."""
    event = note(key, tags=(("-",),))
    accepted, reason = await peer.publish(event)
    assert (accepted, reason.partition(":")[0]) == (False, "auth-required")
    await peer.authenticate(SecretKey.generate())
    accepted, reason = await peer.publish(event)
    assert (accepted, reason.partition(":")[0]) == (False, "restricted")
    await peer.authenticate(key)
    assert (await peer.publish(event))[0]
    assert await other.ids({"ids": [event.id]}) == [event.id]


async def test_a_protected_event_is_not_reposted(peer: Peer, key: SecretKey) -> None:
    """NIP-70: a repost that embeds a protected event is refused, any other is not."""
    for tags, allowed in (((("-",),), False), ((("t", "-"),), True)):
        inner = note(key, tags=tags)
        repost = note(SecretKey.generate(), inner.to_json().decode(), kind=6)
        accepted, reason = await peer.publish(repost)
        assert accepted == allowed
        assert allowed or reason.startswith("blocked:")
