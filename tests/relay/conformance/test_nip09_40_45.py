"""NIP-09 deletion, NIP-40 expiration and NIP-45 counts over the wire."""

import time

from bunker_core.keys import SecretKey
from support.wire import Peer, note

NOW = int(time.time())


async def test_a_deletion_by_id(peer: Peer, key: SecretKey) -> None:
    """The author's event goes, the request stays, and the event does not come back."""
    event, kept = note(key, "gone"), note(key, "kept")
    for item in (event, kept):
        await peer.publish(item)
    request = note(key, kind=5, tags=(("e", event.id), ("k", "1"), ("e", "not an id")))
    assert (await peer.publish(request))[0]
    assert set(await peer.ids({"authors": [key.pubkey]})) == {kept.id, request.id}
    accepted, reason = await peer.publish(event)
    assert not accepted
    assert reason.startswith("blocked:")
    assert await peer.ids({"ids": [event.id]}) == []


async def test_a_deletion_that_comes_first_holds(peer: Peer, key: SecretKey) -> None:
    """An event that was deleted before it arrived is refused."""
    event = note(key)
    await peer.publish(note(key, kind=5, tags=(("e", event.id),)))
    assert not (await peer.publish(event))[0]


async def test_nobody_deletes_for_others(peer: Peer, key: SecretKey) -> None:
    """A request names foreign events by id or address in vain, before and after they come."""
    stranger = SecretKey.generate()
    event = note(key)
    article = note(key, kind=30023, tags=(("d", "a"),), created_at=NOW - 5)
    await peer.publish(event)
    tags = (("e", event.id), ("a", f"30023:{key.pubkey}:a"), ("a", f"30023:{key.pubkey}:"))
    assert (await peer.publish(note(stranger, kind=5, tags=tags)))[0]
    assert (await peer.publish(article))[0]
    assert set(await peer.ids({"authors": [key.pubkey]})) == {event.id, article.id}


async def test_a_deletion_by_address(peer: Peer, key: SecretKey) -> None:
    """All versions up to the request's second go, that second included; a later one is new."""
    d = ("d", "x:y")
    old, same, later = (
        note(key, kind=30023, tags=(d,), created_at=NOW + shift) for shift in (-5, 0, 1)
    )
    await peer.publish(same)
    address = f"30023:{key.pubkey}:x:y"
    request = note(key, kind=5, tags=(("a", address),), created_at=NOW)
    await peer.publish(request)
    assert await peer.ids({"authors": [key.pubkey]}) == [request.id]
    for gone in (old, same):
        accepted, reason = await peer.publish(gone)
        assert not accepted
        assert reason.startswith("blocked:")
    assert (await peer.publish(later))[0]
    assert await peer.ids({"kinds": [30023], "authors": [key.pubkey]}) == [later.id]


async def test_a_replaceable_event_is_deleted_by_address_too(peer: Peer, key: SecretKey) -> None:
    """Its address has an empty identifier."""
    event = note(key, kind=10002, created_at=NOW)
    await peer.publish(event)
    tags = (("a", f"10002:{key.pubkey}:"), ("a", "junk"), ("a", "x:y:z"), ("a", f"²:{key.pubkey}:"))
    await peer.publish(note(key, kind=5, tags=tags, created_at=NOW))
    assert await peer.ids({"kinds": [10002], "authors": [key.pubkey]}) == []


async def test_a_deletion_request_is_not_deleted(peer: Peer, key: SecretKey) -> None:
    """A request against a request has no effect."""
    event = note(key)
    await peer.publish(event)
    request = note(key, kind=5, tags=(("e", event.id),))
    await peer.publish(request)
    await peer.publish(note(key, kind=5, tags=(("e", request.id),)))
    assert await peer.ids({"ids": [request.id]}) == [request.id]
    assert not (await peer.publish(event))[0]


async def test_an_expired_event_is_not_served(peer: Peer, key: SecretKey) -> None:
    """After its second an event is neither sent nor counted, whether swept already or not."""
    event = note(key, tags=(("expiration", str(int(time.time()) + 2)),))
    assert (await peer.publish(event))[0]
    wanted = {"ids": [event.id]}
    assert await peer.ids(wanted) == [event.id]
    end = time.monotonic() + 5
    while await peer.ids(wanted):
        assert time.monotonic() < end
    await peer.send("COUNT", "c", wanted)
    assert await peer.next() == ["COUNT", "c", {"count": 0}]


async def test_count(peer: Peer, key: SecretKey) -> None:
    """COUNT gives the number of events that any filter matches, whatever their limit."""
    for number in range(5):
        await peer.publish(note(key, str(number), kind=number % 2 + 1))
    mine = {"authors": [key.pubkey]}
    for filters, expected in (
        ([mine], 5),
        ([{**mine, "kinds": [1]}], 3),
        ([{**mine, "kinds": [1]}, {**mine, "limit": 1}], 5),
        ([{**mine, "kinds": []}], 0),
        ([{**mine, "#p": ["a" * 64]}], 0),
    ):
        await peer.send("COUNT", "c", *filters)
        assert await peer.next() == ["COUNT", "c", {"count": expected}]
