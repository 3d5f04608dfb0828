"""Filters that are none, or ask too much: CLOSED with a reason, and never a wider answer."""

import json
from typing import Any

import pytest

from bunker_core.keys import SecretKey
from support.wire import NOBODY, Peer, Refused, note

HEX = "a" * 64


@pytest.mark.parametrize(
    "wanted",
    [
        {"ids": "x"}, {"ids": HEX}, {"ids": [HEX[:8]]}, {"ids": [HEX.upper()]}, {"ids": [5]},
        {"ids": None}, {"authors": ["npub1"]}, {"authors": [HEX + "a"]}, {"authors": {}},
        {"kinds": ["1"]}, {"kinds": [True]}, {"kinds": [70000]}, {"kinds": [-1]}, {"kinds": 1},
        {"kinds": [1.0]}, {"#e": ["short"]}, {"#p": [HEX.upper()]}, {"#t": "x"}, {"#t": [1]},
        {"#t": [None]}, {"#": ["x"]}, {"#ab": ["x"]}, {"#'": ["x"]}, {"#1": ["x"]},
        {"#p' OR 1=1--": ["x"]}, {"#é": ["x"]}, {"foo": 1}, {"": 1}, {"limit": -1},
        {"limit": 1.5}, {"limit": "5"}, {"limit": True}, {"since": "now"}, {"since": 1.5},
        {"until": 2**63}, {"since": 2**70}, {"since": True},
    ],
    ids=json.dumps,
)  # fmt: skip
async def test_what_is_not_a_filter_is_closed(peer: Peer, wanted: dict[str, Any]) -> None:
    """Every wrong element is refused, never left out: leaving it out would widen the filter."""
    for verb in ("REQ", "COUNT"):
        await peer.send(verb, "s", wanted)
        message = await peer.next()
        assert message[:2] == ["CLOSED", "s"]
        assert message[2].startswith("invalid:")


async def test_search_is_unsupported(peer: Peer) -> None:
    """NIP-50 is not spoken here, and CLOSED says so."""
    with pytest.raises(Refused, match=r"^CLOSED unsupported:"):
        await peer.subscribe("s", {"search": "x"})


async def test_one_bad_filter_refuses_all(peer: Peer) -> None:
    """A good filter beside a bad one is not served."""
    with pytest.raises(Refused, match=r"^CLOSED invalid:"):
        await peer.subscribe("s", {"kinds": [1]}, {"foo": 1})


@pytest.mark.parametrize(
    "never",
    [{"ids": []}, {"authors": []}, {"kinds": []}, {"#p": []}, {"#t": []},
     {"since": 2**63 - 1}, {"until": -(2**63)}, {"since": 5, "until": 4}],
    ids=json.dumps,
)  # fmt: skip
async def test_what_matches_nothing_gives_eose(
    peer: Peer, key: SecretKey, never: dict[str, Any]
) -> None:
    """An empty list matches nothing, stored or live; it is no wildcard."""
    mine = {"authors": [key.pubkey]}
    await peer.publish(note(key, tags=(("p", HEX), ("t", "x"))))
    assert await peer.subscribe("s", {**mine, **never}) == []
    await peer.publish(note(key, "live", tags=(("p", HEX), ("t", "x"))))
    assert await peer.unread() == []


@pytest.mark.parametrize("value", ["%", "_", "a_", "a%", "'", '"', "\\", "a\x00", "A", "a ", "*"])
async def test_tag_values_match_exactly(peer: Peer, key: SecretKey, value: str) -> None:
    """No pattern, no folding, no trimming: a value matches itself alone."""
    plain = note(key, "plain", kind=30000, tags=(("d", "ab"), ("t", "a")))
    special = note(key, "special", kind=30000, tags=(("d", value), ("t", value)))
    await peer.publish(plain)
    await peer.publish(special)
    for tag in ("#d", "#t"):
        assert await peer.ids({"authors": [key.pubkey], tag: [value]}) == [special.id]


async def test_forced_ping_of_browser_clients_is_answered(peer: Peer) -> None:
    """`{ids: [one], limit: 0}` gets EOSE: nostr-tools keeps a socket alive by it."""
    assert await peer.subscribe("<forced-ping>:1", {"ids": [NOBODY], "limit": 0}) == []


async def test_too_many_subscriptions_are_refused(
    relay_url: str, limitation: dict[str, int]
) -> None:
    """The number in the document is exact; the refusal names it and leaves the others alone."""
    most = limitation["max_subscriptions"]
    async with Peer(relay_url) as peer:
        for number in range(most):
            await peer.send("REQ", f"s{number}", {"ids": [NOBODY], "limit": 0})
        answers = sorted([(await peer.next())[:2] for _ in range(most)])
        assert answers == sorted(["EOSE", f"s{number}"] for number in range(most))
        with pytest.raises(Refused, match=f"^CLOSED rate-limited:.*{most}"):
            await peer.subscribe("one-more", {"limit": 0})
        assert await peer.subscribe("s0", {"ids": [NOBODY], "limit": 0}) == []  # replaces
        await peer.send("CLOSE", "s1")
        assert await peer.subscribe("one-more", {"ids": [NOBODY], "limit": 0}) == []


async def test_subscription_ids_are_as_long_as_the_document_says(
    peer: Peer, limitation: dict[str, int]
) -> None:
    """The longest id is served, one character more is not."""
    most = limitation["max_subid_length"]
    assert await peer.subscribe("x" * most, {"limit": 0}) == []
    await peer.send("REQ", "x" * (most + 1), {"limit": 0})
    assert (await peer.next())[0] == "NOTICE"


async def test_too_many_filters_or_values_are_refused(peer: Peer) -> None:
    """A thousand filters, or ten thousand values in one, are refused."""
    with pytest.raises(Refused, match=r"^CLOSED invalid: more than"):
        await peer.subscribe("s", *[{"kinds": [1]}] * 1000)
    with pytest.raises(Refused, match=r"^CLOSED invalid: more than"):
        await peer.subscribe("s", {"#t": [str(number) for number in range(10_000)]})


async def test_the_default_limit_is_the_documents(
    own_relay: object, peer: Peer, key: SecretKey, limitation: dict[str, int]
) -> None:
    """Without `limit` a filter brings `default_limit` events, and with a greater one more."""
    default = limitation["default_limit"]
    if default > 1_000:
        pytest.skip("too many events to publish for this")
    events = [note(key, str(number)) for number in range(default + 1)]
    for event in events:
        await peer.send("EVENT", event)
    for event in events:
        assert (await peer.ok(event.id))[0]
    assert len(await peer.ids({"authors": [key.pubkey]})) == default
    assert len(await peer.ids({"authors": [key.pubkey], "limit": default + 1})) == default + 1


async def test_a_req_during_its_own_stored_query_replaces_at_once(
    peer: Peer, key: SecretKey
) -> None:
    """Twenty REQ of one id in a row: the last one gets its EOSE, and none comes after it."""
    for number in range(50):
        await peer.send("EVENT", note(key, str(number)))
    for number in range(20):
        await peer.send("REQ", "s", {"authors": [key.pubkey], "limit": number + 1})
    last = note(key, "last", kind=7)
    await peer.publish(last)
    await peer.send("REQ", "s", {"ids": [last.id]})
    messages = [m for m in await peer.unread() if m[0] != "OK"]
    assert messages[-1][:2] == ["EOSE", "s"]
    assert messages[-2][2]["id"] == last.id
    assert len([m for m in messages if m[0] == "EOSE"]) <= 21
