"""pool/protocol.py: what a client says to a relay, and what it believes of the answers."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from bunker_core.event import Event, EventTemplate, Sign, VerifiedEvent, sign_event
from bunker_core.filter import Filter
from bunker_core.kinds import CLIENT_AUTH
from bunker_core.messages import Closed, Delivery, Eose, Notice, Ok, serialize
from bunker_core.nips.nip42 import check_auth
from bunker_core.pool.protocol import (
    Answered,
    ClientProtocol,
    Effect,
    Ended,
    Live,
    Noticed,
    Received,
    Send,
)
from support.strategies import JSON_VALUES, secret_key

NOW = 1_700_000_000
URL = "wss://relay.example.com"
NOTES = Filter(kinds=frozenset({1}))


def note(content: str = "hello", *, kind: int = 1, author: int = 1) -> VerifiedEvent:
    return sign_event(EventTemplate(kind, content, (), NOW), secret_key(author))


def signing(number: int) -> Sign:
    return lambda template: sign_event(template, secret_key(number))


def opened(*auth: int) -> ClientProtocol:
    protocol = ClientProtocol(URL, [signing(number) for number in auth])
    protocol.opened()
    return protocol


def sent(effects: list[Effect]) -> list[Any]:
    """Return the messages of the effects, which must all be `Send`."""
    assert all(isinstance(effect, Send) for effect in effects)
    return [json.loads(effect.text) for effect in effects if isinstance(effect, Send)]


def event_of(message: list[Any]) -> Event:
    fields = {**message[1], "tags": tuple(map(tuple, message[1]["tags"]))}
    return Event(**fields)


def test_subscriptions_and_unanswered_events_outlive_the_connection() -> None:
    """A reconnect asks for every subscription first, then sends what has no OK yet."""
    protocol = opened()
    answered, unanswered = note("answered"), note("unanswered")
    protocol.subscribe("a", (NOTES,))
    protocol.publish(answered)
    protocol.publish(unanswered)
    protocol.subscribe("gone", (NOTES,))
    protocol.unsubscribe("gone")
    protocol.receive(serialize(Ok(answered.id, True, "")), NOW)
    protocol.lost()
    assert sent(protocol.opened()) == [
        ["REQ", "a", {"kinds": [1]}],
        ["EVENT", json.loads(unanswered.to_json())],
    ]


def test_nothing_is_sent_while_there_is_no_connection() -> None:
    """What is asked of a client that is not connected waits for the next connection."""
    protocol = ClientProtocol(URL)
    event = note()
    assert protocol.subscribe("a", (NOTES,)) == []
    assert protocol.publish(event) == []
    assert [message[0] for message in sent(protocol.opened())] == ["REQ", "EVENT"]
    protocol.lost()
    assert protocol.unsubscribe("a") == []
    protocol.forget(event.id)
    assert protocol.opened() == []


def test_an_event_is_believed_when_it_was_asked_for_and_its_signature_holds() -> None:
    """A relay can neither forge an event nor slip in one that no filter asked for."""
    protocol = opened()
    protocol.subscribe("a", (NOTES,))
    good = note()
    assert protocol.receive(serialize(Delivery("a", good)), NOW) == [Received("a", good)]
    unbelievable = [
        Delivery("a", replace(good, content="forged")),
        Delivery("a", replace(good, sig="0" * 128)),
        Delivery("a", note(kind=7)),
    ]
    for message in unbelievable:
        assert protocol.receive(serialize(message), NOW) == []
    assert protocol.rejected == len(unbelievable)
    assert protocol.receive(serialize(Delivery("other", good)), NOW) == []


def test_eose_and_ok_count_only_for_what_was_asked() -> None:
    """A relay's word about another's subscription or event changes nothing."""
    protocol = opened()
    event = note()
    protocol.subscribe("a", (NOTES,))
    protocol.publish(event)
    assert protocol.receive(serialize(Eose("other")), NOW) == []
    assert protocol.receive(serialize(Ok("0" * 64, True, "")), NOW) == []
    assert protocol.receive(serialize(Eose("a")), NOW) == [Live("a")]
    refused = serialize(Ok(event.id, False, "blocked: no"))
    assert protocol.receive(refused, NOW) == [Answered(event.id, False, "blocked: no")]
    assert protocol.receive(refused, NOW) == []  # a second word on the same event


def test_a_closed_subscription_is_asked_for_again_on_demand_and_on_reconnect() -> None:
    """CLOSED ends a subscription at the relay; the client keeps it until `unsubscribe`."""
    protocol = opened()
    protocol.subscribe("a", (NOTES,))
    closed = serialize(Closed("a", "error: shutting down"))
    assert protocol.receive(closed, NOW) == [Ended("a", "error: shutting down")]
    request = ["REQ", "a", {"kinds": [1]}]
    assert sent(protocol.resubscribe("a")) == [request]
    protocol.lost()
    assert sent(protocol.opened()) == [request]
    protocol.unsubscribe("a")
    assert protocol.resubscribe("a") == []
    assert protocol.receive(closed, NOW) == []


def test_a_notice_is_passed_on() -> None:
    """NOTICE is for people."""
    assert opened().receive(serialize(Notice("hi")), NOW) == [Noticed("hi")]


@given(JSON_VALUES)
def test_garbage_raises_nothing_and_asks_for_nothing(value: object) -> None:
    """Whatever a relay sends, the client has at most something to show to a person."""
    protocol = opened(1)
    protocol.subscribe("a", (NOTES,))
    for text in (json.dumps(value), json.dumps(["EVENT", "a", value]), json.dumps(value)[:-1]):
        effects = protocol.receive(text, NOW)
        assert all(isinstance(effect, Noticed) for effect in effects)


# --- NIP-42 ------------------------------------------------------------------------------------


def challenge(text: str = "c") -> str:
    return json.dumps(["AUTH", text])


def test_a_challenge_alone_is_not_answered() -> None:
    """A relay that does not insist is not told who is there."""
    protocol = opened(1)
    assert protocol.receive(challenge(), NOW) == []
    assert sent(protocol.publish(note()))[0][0] == "EVENT"


@pytest.mark.parametrize("challenge_first", [True, False])
def test_a_relay_that_insists_gets_auth_and_then_the_event_again(challenge_first: bool) -> None:
    """auth-required on an event: AUTH by every key, and after the last OK the event once more."""
    protocol = opened(1, 2)
    event = note()
    protocol.publish(event)
    required = serialize(Ok(event.id, False, "auth-required: who are you"))
    order = [challenge(), required] if challenge_first else [required, challenge()]
    assert protocol.receive(order[0], NOW) == []
    auth = sent(protocol.receive(order[1], NOW))
    assert [message[0] for message in auth] == ["AUTH", "AUTH"]
    events = [event_of(message) for message in auth]
    authors = {check_auth(item, frozenset({URL}), "c", NOW).pubkey for item in events}
    assert authors == {secret_key(1).pubkey, secret_key(2).pubkey}
    assert events[0].kind == CLIENT_AUTH
    assert protocol.receive(serialize(Ok(events[0].id, True, "")), NOW) == []
    again = protocol.receive(serialize(Ok(events[1].id, True, "")), NOW)
    assert sent(again) == [["EVENT", json.loads(event.to_json())]]
    assert protocol.receive(serialize(Ok(event.id, True, "")), NOW) == [
        Answered(event.id, True, "")
    ]


def test_a_relay_that_insists_gets_auth_and_then_the_subscription_again() -> None:
    """auth-required on a REQ: AUTH, then the REQ once more."""
    protocol = opened(1)
    protocol.receive(challenge(), NOW)
    protocol.subscribe("a", (NOTES,))
    closed = serialize(Closed("a", "auth-required: who are you"))
    auth = event_of(sent(protocol.receive(closed, NOW))[0])
    again = protocol.receive(serialize(Ok(auth.id, True, "")), NOW)
    assert sent(again) == [["REQ", "a", {"kinds": [1]}]]
    # A second refusal is one: no circle of AUTH and REQ.
    assert protocol.receive(closed, NOW) == [Ended("a", "auth-required: who are you")]


def test_what_was_given_up_while_waiting_for_auth_is_not_sent_again() -> None:
    """A subscription closed or an event forgotten between AUTH and its OK stays so."""
    protocol = opened(1)
    event = note()
    protocol.receive(challenge(), NOW)
    protocol.subscribe("a", (NOTES,))
    protocol.publish(event)
    auth = event_of(sent(protocol.receive(serialize(Closed("a", "auth-required:")), NOW))[0])
    protocol.receive(serialize(Ok(event.id, False, "auth-required:")), NOW)
    protocol.unsubscribe("a")
    protocol.forget(event.id)
    assert protocol.receive(serialize(Ok(auth.id, True, "")), NOW) == []


def test_a_refused_auth_refuses_what_waited_for_it() -> None:
    """A relay that takes none of the keys: the caller gets its word on AUTH as the answer."""
    protocol = opened(1)
    event = note()
    protocol.receive(challenge(), NOW)
    protocol.subscribe("a", (NOTES,))
    protocol.publish(event)
    closed = serialize(Closed("a", "auth-required: who are you"))
    auth = event_of(sent(protocol.receive(closed, NOW))[0])
    protocol.receive(serialize(Ok(event.id, False, "auth-required: who are you")), NOW)
    assert protocol.receive(serialize(Ok(auth.id, False, "restricted: not you")), NOW) == [
        Ended("a", "restricted: not you"),
        Answered(event.id, False, "restricted: not you"),
    ]


def test_without_a_key_auth_required_is_a_refusal() -> None:
    """A client that has nothing to sign with reports what the relay said."""
    protocol = opened()
    event = note()
    protocol.publish(event)
    protocol.receive(challenge(), NOW)
    assert protocol.receive(serialize(Ok(event.id, False, "auth-required:")), NOW) == [
        Answered(event.id, False, "auth-required:")
    ]


def test_a_new_connection_starts_without_authentication() -> None:
    """What the last connection was allowed is not taken for granted on the next."""
    protocol = opened(1)
    event = note()
    protocol.receive(challenge("first"), NOW)
    protocol.publish(event)
    required = serialize(Ok(event.id, False, "auth-required:"))
    auth = event_of(sent(protocol.receive(required, NOW))[0])
    protocol.receive(serialize(Ok(auth.id, True, "")), NOW)
    protocol.lost()
    assert [message[0] for message in sent(protocol.opened())] == ["EVENT"]
    assert protocol.receive(required, NOW) == []  # until this connection's challenge is there
    renewed = event_of(sent(protocol.receive(challenge("second"), NOW))[0])
    assert renewed.tag_values("challenge") == ("second",)
