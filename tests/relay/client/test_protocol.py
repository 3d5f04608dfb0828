"""The relay's side of the protocol with one client, without a socket or a loop."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bunker_core.bounds.rate import Buckets
from bunker_core.errors import InvalidMessage
from bunker_core.event import Event, EventTemplate, sign_event
from bunker_core.keys import SecretKey
from bunker_core.messages import Req, encode_ok, parse_client_message
from bunker_relay.client.protocol import (
    CountQuery,
    Effect,
    HangUp,
    Query,
    RelayProtocol,
    Unsubscribe,
)
from bunker_relay.config import Config, Limits, Rate
from bunker_relay.event.hub import Subscription, memory_of
from bunker_relay.event.limits import Budget
from bunker_relay.event.lists import Lists
from bunker_relay.event.policy import Policy
from relay.support.frames import Frames
from support.strategies import JSON_VALUES

NOW = 1_000
KEY = SecretKey.generate()


def _protocol(
    burst: int = 100,
    memory: Budget | None = None,
    overflowed: Callable[[Subscription], None] = lambda _: None,
    address: str = "192.0.2.1",
    filters: Budget | None = None,
    **settings: Any,
) -> RelayProtocol:
    policy = Policy(Config(**settings), Lists(Path("/nowhere")))
    return RelayProtocol(
        policy,
        Frames(),
        address=address,
        queries=Buckets(Rate(per_second=1, burst=burst)),
        memory=memory or Budget(2**30, 2**30),
        filters=filters or Budget(2**30, 2**30),
        challenge="challenge",
        relay_urls=frozenset({"ws://relay"}),
        overflowed=overflowed,
    )


def _take(protocol: RelayProtocol, text: str, now: float = NOW) -> list[Effect]:
    """Do what `connection` does with a message that is no event of a publisher."""
    try:
        message = parse_client_message(text)
    except InvalidMessage as error:
        return list(protocol.refuse(error, now))
    assert not isinstance(message, Event)
    return list(protocol.answer(message, now))


def _receive(protocol: RelayProtocol, *message: Any, now: float = NOW) -> list[Any]:
    """Return the effects of a message; frames as what they say."""
    effects = _take(protocol, json.dumps(message), now)
    return [json.loads(item) if isinstance(item, bytes) else item for item in effects]


def test_a_used_id_ends_the_old_subscription_first() -> None:
    """Unsubscribe comes before Query, so that the hub never has both."""
    protocol = _protocol()
    (first,) = _receive(protocol, "REQ", "s", {"kinds": [1]})
    gone, second = _receive(protocol, "REQ", "s", {"kinds": [2]})
    assert isinstance(first, Query)
    assert gone == Unsubscribe(first.subscription)
    assert isinstance(second, Query)
    assert _receive(protocol, "CLOSE", "s") == [Unsubscribe(second.subscription)]
    assert _receive(protocol, "CLOSE", "s") == []


def test_a_refused_req_ends_the_old_subscription_too() -> None:
    """For whatever reason it is refused: the client hears CLOSED of that id."""
    protocol = _protocol(burst=2)
    for refused in ({"kinds": "x"}, {"search": "x"}):
        (query,) = _receive(protocol, "REQ", "s", {})
        gone, closed = _receive(protocol, "REQ", "s", refused)
        assert gone == Unsubscribe(query.subscription)
        assert closed[:2] == ["CLOSED", "s"]
    (closed,) = _receive(protocol, "REQ", "s", {})
    assert closed[2].startswith("rate-limited:")
    assert protocol.subscriptions == {}


def test_a_count_is_no_subscription() -> None:
    """COUNT neither ends one nor is one."""
    protocol = _protocol()
    _receive(protocol, "REQ", "s", {})
    (count,) = _receive(protocol, "COUNT", "s", {"kinds": [1]})
    assert isinstance(count, CountQuery)
    assert list(protocol.subscriptions) == ["s"]


def test_auth_adds_a_pubkey() -> None:
    """Each good answer to the challenge is one more key; the greeting carries the challenge."""
    protocol = _protocol()
    tags = (("relay", "ws://relay"), ("challenge", "challenge"))
    event = sign_event(EventTemplate(kind=22242, tags=tags, created_at=NOW), KEY)
    assert _receive(protocol, "AUTH", event.to_dict()) == [["OK", event.id, True, ""]]
    assert protocol.pubkeys == {KEY.pubkey}
    (late,) = _receive(protocol, "AUTH", event.to_dict(), now=NOW + 3600)
    assert late[2] is False


def test_auth_is_rationed_before_its_signature_is_checked() -> None:
    """Whoever sends nothing but AUTH makes the relay check as many signatures as queries."""
    protocol = _protocol(burst=2)
    tags = (("relay", "ws://relay"), ("challenge", "challenge"))
    event = sign_event(EventTemplate(kind=22242, tags=tags, created_at=NOW), KEY)
    forged = event.to_dict() | {"sig": "0" * 128}
    for _ in range(2):
        (refused,) = _receive(protocol, "AUTH", forged)
        assert refused[3].startswith("invalid:")
    for message in (forged, event.to_dict()):
        (refused,) = _receive(protocol, "AUTH", message)
        assert refused[3] == "rate-limited: too many AUTH messages, slow down"
    assert _receive(protocol, "AUTH", event.to_dict(), now=NOW + 1) == [["OK", event.id, True, ""]]


def test_a_challenge_comes_once_and_when_it_opens_something() -> None:
    """Before the first answer that asks for it, whether OK or CLOSED, and before no other."""
    protocol = _protocol(signers=(KEY.pubkey,))
    for message in (["REQ", "s", {}], ["REQ", "s", {"kinds": [24133], "#p": ["a" * 64]}]):
        assert [item for item in _receive(protocol, *message) if isinstance(item, list)] == []
    assert protocol.challenge_for(encode_ok("a" * 64, False, "invalid: auth-required: no")) is None
    for verb, *expected in (("REQ", "AUTH", "CLOSED"), ("REQ", "CLOSED"), ("COUNT", "CLOSED")):
        found = _receive(protocol, verb, "t", {"kinds": [24133]})
        assert [item[0] for item in found] == expected
    for reason in ("auth-required: prove it", "restricted: not you"):
        answer = encode_ok("a" * 64, False, reason)
        assert protocol.challenge_for(answer) is None
        assert _protocol().challenge_for(answer) == b'["AUTH","challenge"]'


def test_who_asks_a_signer_and_listens_to_nothing_is_challenged() -> None:
    """NDK subscribes anew after a reconnect when it has authenticated; nobody else sees it."""
    request = EventTemplate(24133, "payload", (("p", "a" * 64),), NOW)
    note = EventTemplate(1, "payload", (), NOW)
    protocol = _protocol()
    assert protocol.challenge_for_deaf(sign_event(note, KEY)) is None
    assert protocol.challenge_for_deaf(sign_event(request, KEY)) == b'["AUTH","challenge"]'
    assert protocol.challenge_for_deaf(sign_event(request, KEY)) is None
    listening = _protocol()
    _receive(listening, "REQ", "s", {"kinds": [24133], "#p": ["a" * 64]})
    assert listening.challenge_for_deaf(sign_event(request, KEY)) is None


def test_offences_end_in_a_hang_up() -> None:
    """Unreadable messages beyond the limit, text or binary; a minute later some are forgiven."""
    protocol = _protocol(limits=Limits(max_offences=3))
    for _ in range(3):
        assert [item for item in _receive(protocol, "FOO") if isinstance(item, HangUp)] == []
    assert HangUp() in list(protocol.receive_binary(NOW))
    assert HangUp() not in _take(protocol, "junk", NOW + 20.5)


def _wide(number: int, values: int = 500) -> dict[str, Any]:
    """A filter of many values."""
    return {"kinds": [1], "#t": [f"{number}-{value}" for value in range(values)]}


def test_the_filters_of_a_connection_are_bounded_in_bytes() -> None:
    """What is too much is refused, not an offence; what ends gives its share back."""
    memory = Budget(2**30, 2**30)
    protocol = _protocol(memory=memory, limits=Limits(max_subscription_bytes=600_000))
    answers = [_receive(protocol, "REQ", str(number), _wide(number)) for number in range(4)]
    assert [isinstance(item[0], Query) for item in answers] == [True, True, False, False]
    assert answers[3] == [
        ["CLOSED", "3", "rate-limited: the filters of this connection hold more than 600000 bytes"]
    ]
    assert memory.used == 2 * memory_of(answers[0][0].subscription.filters) < 600_000
    _receive(protocol, "CLOSE", "0")
    (again,) = _receive(protocol, "REQ", "4", _wide(4))
    assert isinstance(again, Query)
    _receive(protocol, "REQ", "4", {"kinds": [1]})  # replaced by a small one
    (again,) = _receive(protocol, "REQ", "5", _wide(5))
    assert isinstance(again, Query)
    for name in ("1", "4", "5"):
        _receive(protocol, "CLOSE", name)
    assert memory.used == 0


def test_a_relay_for_signing_alone_gives_filters_a_tenth() -> None:
    """A signer or its app names a few pubkeys."""
    settings = Limits(max_subscription_bytes=600_000)
    (closed,) = _receive(_protocol(limits=settings, profile="bunker"), "REQ", "s", _wide(1))
    assert closed[:2] == ["CLOSED", "s"]


def test_what_is_held_back_is_bounded() -> None:
    """What happens during a query waits in memory; too much of it ends the subscription."""
    memory = Budget(20_000, 40_000)
    ended: list[Subscription] = []
    protocol = _protocol(memory=memory, overflowed=ended.append)
    (query,) = _receive(protocol, "REQ", "s", {"kinds": [1]})
    assert isinstance(query, Query)
    event_json = b"x" * 3_800
    for number in range(4):
        query.subscription.send(str(number), event_json, b"")
    assert memory.used == query.subscription.size + 4 * 4_000
    query.subscription.send("0", event_json, b"")  # again the same
    assert ended == []
    query.subscription.send("4", event_json, b"")
    assert ended == [query.subscription]
    query.subscription.end()
    assert memory.used == query.subscription.size
    (again,) = _receive(protocol, "REQ", "t", {"kinds": [1]})
    again.subscription.send("0", event_json, b"")
    again.subscription.release(())
    assert memory.used == query.subscription.size + again.subscription.size


def test_a_count_takes_memory_until_it_is_told() -> None:
    """Counts that wait for their turn hold filters too."""
    memory = Budget(2**30, 2**30)
    protocol = _protocol(memory=memory, limits=Limits(max_subscription_bytes=600_000))
    answers = [_receive(protocol, "COUNT", str(number), _wide(number))[0] for number in range(3)]
    assert answers[2][:2] == ["CLOSED", "2"]
    for query in answers[:2]:
        assert isinstance(query, CountQuery)
        protocol.counted(query)
    assert memory.used == 0


def test_the_filters_of_an_address_are_bounded_together() -> None:
    """A second connection finds what the first has left; a small filter of another passes."""
    filters = parse_client_message(json.dumps(["REQ", "s", _wide(1)]))
    assert isinstance(filters, Req)
    size = memory_of(filters.filters)
    memory = Budget(2 * size, 3 * size)
    for name in ("a", "b"):
        (query,) = _receive(_protocol(memory=memory), "REQ", name, _wide(1))
        assert isinstance(query, Query)
    (closed,) = _receive(_protocol(memory=memory), "REQ", "c", _wide(1))
    most = memory.per_key
    assert closed[2] == f"rate-limited: the filters of this address hold more than {most} bytes"
    (closed,) = _receive(_protocol(memory=memory, address="a third"), "REQ", "c", _wide(1))
    assert closed[2] == "rate-limited: the relay has no memory left for filters of this size"


def test_the_filters_of_an_address_are_bounded_in_number() -> None:
    """Each may be looked at for every event; what ends, or is refused, takes none of them."""
    memory, filters = Budget(2**30, 2**30), Budget(5, 2**62)
    one = _protocol(memory=memory, filters=filters)
    other = _protocol(memory=memory, filters=filters)
    kinds = [{"kinds": [number]} for number in range(3)]
    (query,) = _receive(one, "REQ", "a", *kinds)
    assert isinstance(query, Query)
    (closed,) = _receive(other, "REQ", "b", *kinds)
    reason = "rate-limited: more than 5 filters in the subscriptions of this address"
    assert closed == ["CLOSED", "b", reason]
    assert memory.used == query.subscription.size
    (again,) = _receive(other, "REQ", "b", *kinds[:2])
    assert isinstance(again, Query)
    (elsewhere,) = _receive(_protocol(filters=filters, address="192.0.2.2"), "REQ", "c", *kinds)
    assert isinstance(elsewhere, Query)
    _receive(one, "CLOSE", "a")
    (again,) = _receive(other, "REQ", "d", *kinds)
    assert isinstance(again, Query)


@settings(max_examples=60, deadline=None)
@given(st.lists(JSON_VALUES, max_size=4) | st.text() | st.binary().map(repr))
def test_whatever_comes_is_answered(value: object) -> None:
    """No input raises; what is no message gets at least one frame."""
    protocol = _protocol()
    text = value if isinstance(value, str) else json.dumps(value)
    effects = _take(protocol, text)
    assert effects
    assert all(isinstance(item, bytes | HangUp) for item in effects)


@pytest.mark.parametrize("verb", ["REQ", "COUNT", "EVENT", "AUTH", "CLOSE"])
@settings(max_examples=30, deadline=None)
@given(rest=st.lists(JSON_VALUES, max_size=4))
def test_whatever_follows_a_verb_is_answered(verb: str, rest: list[object]) -> None:
    """Nothing raises behind a known word either."""
    _take(_protocol(), json.dumps([verb, *rest]))
