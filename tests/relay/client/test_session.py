"""The session: one client's side of the protocol without a socket or a loop."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _frames import Frames
from _strategies import JSON_VALUES
from bunker_core.bounds.rate import Buckets
from bunker_core.event import EventTemplate, sign_event
from bunker_core.keys import SecretKey
from bunker_core.messages import encode_ok
from bunker_relay.client.session import CountQuery, HangUp, Ingest, Query, Session, Unsubscribe
from bunker_relay.config import Config, Limits, Rate
from bunker_relay.event.lists import Lists
from bunker_relay.event.policy import Policy

NOW = 1_000
KEY = SecretKey.generate()


def _session(burst: int = 100, **settings: Any) -> Session:
    policy = Policy(Config(**settings), Lists(Path("/nowhere")))
    return Session(
        policy,
        Frames(),
        address="192.0.2.1",
        queries=Buckets(Rate(per_second=1, burst=burst)),
        challenge="challenge",
        relay_urls=frozenset({"ws://relay"}),
    )


def _receive(session: Session, *message: Any, now: float = NOW) -> list[Any]:
    """Return the effects of a message; frames as what they say."""
    effects = session.receive(json.dumps(message), now)
    return [json.loads(item) if isinstance(item, bytes) else item for item in effects]


def test_an_event_is_for_ingest() -> None:
    """The session checks its shape and leaves the rest to others."""
    event = sign_event(EventTemplate(kind=1, created_at=NOW), KEY)
    assert _receive(_session(), "EVENT", event.to_dict()) == [Ingest(event)]


def test_a_used_id_ends_the_old_subscription_first() -> None:
    """Unsubscribe comes before Query, so that the hub never has both."""
    session = _session()
    (first,) = _receive(session, "REQ", "s", {"kinds": [1]})
    gone, second = _receive(session, "REQ", "s", {"kinds": [2]})
    assert isinstance(first, Query)
    assert gone == Unsubscribe(first.subscription)
    assert isinstance(second, Query)
    assert _receive(session, "CLOSE", "s") == [Unsubscribe(second.subscription)]
    assert _receive(session, "CLOSE", "s") == []


def test_a_refused_req_ends_the_old_subscription_too() -> None:
    """For whatever reason it is refused: the client hears CLOSED of that id."""
    session = _session(burst=2)
    for refused in ({"kinds": "x"}, {"search": "x"}):
        (query,) = _receive(session, "REQ", "s", {})
        gone, closed = _receive(session, "REQ", "s", refused)
        assert gone == Unsubscribe(query.subscription)
        assert closed[:2] == ["CLOSED", "s"]
    (closed,) = _receive(session, "REQ", "s", {})
    assert closed[2].startswith("rate-limited:")
    assert session.subscriptions == {}


def test_a_count_is_no_subscription() -> None:
    """COUNT neither ends one nor is one."""
    session = _session()
    _receive(session, "REQ", "s", {})
    (count,) = _receive(session, "COUNT", "s", {"kinds": [1]})
    assert isinstance(count, CountQuery)
    assert list(session.subscriptions) == ["s"]


def test_auth_adds_a_pubkey() -> None:
    """Each good answer to the challenge is one more key; the greeting carries the challenge."""
    session = _session()
    tags = (("relay", "ws://relay"), ("challenge", "challenge"))
    event = sign_event(EventTemplate(kind=22242, tags=tags, created_at=NOW), KEY)
    assert _receive(session, "AUTH", event.to_dict()) == [["OK", event.id, True, ""]]
    assert session.pubkeys == {KEY.pubkey}
    (late,) = _receive(session, "AUTH", event.to_dict(), now=NOW + 3600)
    assert late[2] is False


def test_a_challenge_comes_once_and_when_it_opens_something() -> None:
    """Before the first answer that asks for it, whether OK or CLOSED, and before no other."""
    session = _session(signers=(KEY.pubkey,))
    for message in (["REQ", "s", {}], ["REQ", "s", {"kinds": [24133], "#p": [KEY.pubkey]}]):
        assert [item for item in _receive(session, *message) if isinstance(item, list)] == []
    assert session.challenge_for(encode_ok("a" * 64, False, "invalid: auth-required: no")) is None
    for verb, *expected in (("REQ", "AUTH", "CLOSED"), ("REQ", "CLOSED"), ("COUNT", "CLOSED")):
        found = _receive(session, verb, "t", {"kinds": [24133]})
        assert [item[0] for item in found] == expected
    for reason in ("auth-required: prove it", "restricted: not you"):
        answer = encode_ok("a" * 64, False, reason)
        assert session.challenge_for(answer) is None
        assert _session().challenge_for(answer) == b'["AUTH","challenge"]'


def test_offences_end_in_a_hang_up() -> None:
    """Unreadable messages beyond the limit, text or binary; a minute later some are forgiven."""
    session = _session(limits=Limits(max_offences=3))
    for _ in range(3):
        assert [item for item in _receive(session, "FOO") if isinstance(item, HangUp)] == []
    assert HangUp() in list(session.receive_binary(NOW))
    assert HangUp() not in list(session.receive("junk", NOW + 20.5))


@settings(max_examples=60, deadline=None)
@given(st.lists(JSON_VALUES, max_size=4) | st.text() | st.binary().map(repr))
def test_whatever_comes_is_answered(value: object) -> None:
    """No input raises; what is no message gets at least one frame."""
    session = _session()
    text = value if isinstance(value, str) else json.dumps(value)
    effects = list(session.receive(text, NOW))
    assert effects
    assert all(isinstance(item, bytes | HangUp) for item in effects)


@pytest.mark.parametrize("verb", ["REQ", "COUNT", "EVENT", "AUTH", "CLOSE"])
@settings(max_examples=30, deadline=None)
@given(rest=st.lists(JSON_VALUES, max_size=4))
def test_whatever_follows_a_verb_is_answered(verb: str, rest: list[object]) -> None:
    """Nothing raises behind a known word either."""
    list(_session().receive(json.dumps([verb, *rest]), NOW))
