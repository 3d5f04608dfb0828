"""messages.py: what client and relay say to each other."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunker_core.errors import InvalidMessage
from bunker_core.event import EventTemplate, sign_event
from bunker_core.messages import (
    Auth,
    Challenge,
    ClientMessage,
    Close,
    Closed,
    Count,
    CountReply,
    Delivery,
    Eose,
    Notice,
    Ok,
    RelayMessage,
    Req,
    parse_client_message,
    parse_relay_message,
    prefix,
    serialize,
)
from support.strategies import EVENTS, FILTERS, HEX32, JSON_VALUES, TEXTS, secret_key

SUBSCRIPTION_IDS = TEXTS.filter(lambda text: 0 < len(text) <= 64)
FILTER_LISTS = st.lists(FILTERS, min_size=1, max_size=3).map(tuple)
CLIENT_MESSAGES = (
    EVENTS
    | st.builds(Auth, EVENTS)
    | st.builds(Req, SUBSCRIPTION_IDS, FILTER_LISTS)
    | st.builds(Count, SUBSCRIPTION_IDS, FILTER_LISTS)
    | st.builds(Close, SUBSCRIPTION_IDS)
)
RELAY_MESSAGES = (
    st.builds(Delivery, TEXTS, EVENTS)
    | st.builds(Ok, HEX32, st.booleans(), TEXTS)
    | st.builds(Eose, TEXTS)
    | st.builds(Closed, TEXTS, TEXTS)
    | st.builds(Notice, TEXTS)
    | st.builds(Challenge, TEXTS)
    | st.builds(CountReply, TEXTS, st.integers(0, 2**63 - 1))
)
EVENT = sign_event(EventTemplate(1, "hello", (), 1), secret_key(1))
VERBS = st.sampled_from(
    ["EVENT", "REQ", "COUNT", "CLOSE", "AUTH", "OK", "EOSE", "CLOSED", "NOTICE"]
)


@given(CLIENT_MESSAGES)
def test_the_relay_reads_what_a_client_writes(message: ClientMessage) -> None:
    """Every client message survives the wire, as text and as bytes."""
    assert parse_client_message(serialize(message)) == message
    assert parse_client_message(serialize(message).encode()) == message


@given(RELAY_MESSAGES)
def test_the_client_reads_what_a_relay_writes(message: RelayMessage) -> None:
    """Every relay message survives the wire, as text and as bytes."""
    assert parse_relay_message(serialize(message)) == message
    assert parse_relay_message(serialize(message).encode()) == message


@given(CLIENT_MESSAGES | RELAY_MESSAGES)
def test_a_frame_has_no_line_break(message: ClientMessage | RelayMessage) -> None:
    """One message is one line, so that a log or a pipe can carry it."""
    assert "\n" not in serialize(message)


@given(VERBS, st.lists(JSON_VALUES, max_size=3))
def test_random_arrays_raise_only_invalid_message(verb: str, rest: list[object]) -> None:
    """A known verb before any JSON is a message or InvalidMessage with a prefixed reason."""
    text = json.dumps([verb, *rest])
    for parse in (parse_client_message, parse_relay_message):
        try:
            parse(text)
        except InvalidMessage as error:
            refused = error
        else:
            continue
        assert prefix(refused.reason) in ("invalid", "unsupported")
        assert refused.event_id is None or len(refused.event_id) == 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('["EVENT","s",' + EVENT.to_json().decode() + "]", Delivery("s", EVENT)),
        ('["OK","b1",true,""]', Ok("b1", True, "")),
        ('["OK","b1",true]', Ok("b1", True, "")),  # older relays
        ('["OK","b1",false,"pow: 25>=24",5]', Ok("b1", False, "pow: 25>=24")),
        ('["EOSE","s"]', Eose("s")),
        ('["EOSE","s",5]', Eose("s")),
        ('["CLOSED","s","error: shutting down"]', Closed("s", "error: shutting down")),
        ('["CLOSED","s"]', Closed("s", "")),
        ('["NOTICE","hello"]', Notice("hello")),
        ('["AUTH","challenge"]', Challenge("challenge")),
        ('["COUNT","s",{"count":238,"approximate":true}]', CountReply("s", 238)),
    ],
)
def test_what_relays_of_the_field_send(text: str, message: RelayMessage) -> None:
    """Missing reasons and additions at the end are no reason to lose a relay."""
    assert parse_relay_message(text) == message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        "[5]",
        '["HELLO"]',
        '["OK","b1"]',
        '["OK","b1","true",""]',
        '["OK","b1",1,""]',
        '["OK","b1",true,5]',
        '["OK",5,true,""]',
        '["EOSE"]',
        '["EOSE",null]',
        '["CLOSED","s",null]',
        '["NOTICE",["x"]]',
        '["AUTH",{}]',
        '["COUNT","s",{"count":"5"}]',
        '["COUNT","s",{"count":true}]',
        '["COUNT","s",{}]',
        '["EVENT","s"]',
        '["EVENT","s",{}]',
        '["EVENT",{}]',
    ],
)
def test_what_no_relay_sends_is_refused(text: str) -> None:
    """A relay is not trusted either."""
    with pytest.raises(InvalidMessage):
        parse_relay_message(text)


def test_an_unreadable_delivery_names_its_subscription() -> None:
    """The pool can say which subscription a relay feeds with rubbish."""
    with pytest.raises(InvalidMessage) as caught:
        parse_relay_message('["EVENT","s",{}]')
    assert caught.value.subscription_id == "s"


@pytest.mark.parametrize(
    ("text", "reason", "event_id", "subscription_id"),
    [
        ('["EVENT",{"id":"' + EVENT.id + '"}]', "invalid: field", EVENT.id, None),
        ('["AUTH",{"id":"' + EVENT.id + '"}]', "invalid: field", EVENT.id, None),
        ('["EVENT",{"id":"short"}]', "invalid: field", None, None),
        ('["EVENT",{"id":"' + EVENT.id + '","content":"\\ud800"}]', "not valid", EVENT.id, None),
        ('["EVENT",{"id":"' + EVENT.id + '","kind":1e999}]', "not valid", EVENT.id, None),
        ('["EVENT"]', "takes one event", None, None),
        ('["EVENT",{},{}]', "takes one event", None, None),
        (f'["EVENT",{{"id":"{"a" * 64}"}},1]', "takes one event", "a" * 64, None),
        (f'["EVENT",{{"id":"{"a" * 64}","x":{"9" * 5000}}}]', "valid JSON", "a" * 64, None),
        (f'["REQ","s",{{"limit":{"9" * 5000}}}]', "valid JSON", None, "s"),
        ('["AUTH","text"]', "unknown message type", None, None),
        ('["REQ","s"]', "no filter", None, "s"),
        ('["REQ","s",{"search":"x"}]', "unsupported: search", None, "s"),
        ('["REQ","s",{"x":1}]', "invalid: unknown filter key", None, "s"),
        ('["REQ","s",{},[]]', "invalid: filter is not an object", None, "s"),
        ('["COUNT","s",5]', "invalid: filter", None, "s"),
        ('["REQ","s",{"#t":["\\ud800"]}]', "not valid JSON", None, "s"),
        ('["REQ","\\ud800",{}]', "not valid JSON", None, None),
        ('["REQ",5,{}]', "subscription id", None, None),
        ('["REQ","",{}]', "subscription id", None, None),
        ('["REQ","' + "s" * 65 + '",{}]', "subscription id", None, None),
        ('["REQ"]', "subscription id", None, None),
        ('["CLOSE"]', "subscription id", None, None),
        ('["CLOSE",null]', "subscription id", None, None),
        ('["close","s"]', "unknown message type", None, None),
        ("{}", "not an array", None, None),
        ("[[]]", "not an array", None, None),
        ("[", "not valid JSON", None, None),
    ],
)
def test_a_refusal_names_what_it_refuses(
    text: str, reason: str, event_id: str | None, subscription_id: str | None
) -> None:
    """The reply is OK or CLOSED when the client's id can be read, and NOTICE only otherwise."""
    with pytest.raises(InvalidMessage) as caught:
        parse_client_message(text)
    assert reason in caught.value.reason
    assert prefix(caught.value.reason) in ("invalid", "unsupported")
    assert caught.value.event_id == event_id
    assert caught.value.subscription_id == subscription_id


def test_sixty_four_characters_are_a_subscription_id() -> None:
    """NIP-01 counts characters, not bytes."""
    for subscription_id in ("s" * 64, "🦊" * 64):
        assert parse_client_message(json.dumps(["CLOSE", subscription_id])) == Close(
            subscription_id
        )


def test_a_refusal_does_not_repeat_content() -> None:
    """What a client wrote by mistake is not sent to whoever reads the relay's log."""
    for text in (
        '["EVENT",{"id":"secret","content":"secret"}]',
        '["REQ","s",{"secret":1}]',
        '["secret"]',
        '"secret',
    ):
        with pytest.raises(InvalidMessage) as caught:
            parse_client_message(text)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("auth-required: first", "auth-required"),
        ("mute: nobody listens", "mute"),
        ("rate-limited:", "rate-limited"),
        ("", ""),
        ("no prefix", ""),
        ("two words: here", ""),
        (": empty", ""),
    ],
)
def test_the_prefix_of_a_reason(reason: str, word: str) -> None:
    """The machine-readable word is what stands before the colon, if it is one word."""
    assert prefix(reason) == word


def test_an_event_is_written_as_its_json() -> None:
    """serialize and to_json agree, so that a relay may join them by hand."""
    assert serialize(Delivery("s", EVENT)) == f'["EVENT","s",{EVENT.to_json().decode()}]'
    assert orjson.loads(serialize(EVENT))[1] == json.loads(EVENT.to_json())
