"""event.py: canonical form, id, signature and strict parsing."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunker_core.errors import InvalidEvent
from bunker_core.event import (
    MAX_TIMESTAMP,
    Event,
    EventTemplate,
    canonical,
    event_id,
    parse_event,
    parse_event_json,
    parse_tags,
    parse_template,
    sign_event,
    verify,
)
from bunker_core.keys import SecretKey
from support.strategies import EVENTS, JSON_VALUES, SECRET_KEYS, TEMPLATES, TEXTS, secret_key

KEY = secret_key(1)
TEMPLATE = EventTemplate(1, "Signed from desktop, key on phone!", (("t", "bunker"),), 1_700_000_000)
EVENT = sign_event(TEMPLATE, KEY)
# An event of 2022, signed by software of that time.
FOREIGN = (
    '{"id":"d7dd5eb3ab747e16f8d0212d53032ea2a7cadef53837e5a6c66d42849fcb9027","kind":1,"pubkey":"'
    '22a12a128a3be27cd7fb250cbe796e692896398dc1440ae3fa567812c8107c1c","created_at":1670869179,"c'
    'ontent":"NOSTR \\"WINE-ACCOUNT\\" WITH HARVEST DATE STAMPED\\n\\n\\n\\"The older the wine, t'
    'he greater its reputation\\"\\n\\n\\n22a12a128a3be27cd7fb250cbe796e692896398dc1440ae3fa56781'
    '2c8107c1c\\n\\n\\nNWA 2022-12-12\\nAA","tags":[["client","astral"]],"sig":"f110e4fdf67835fb0'
    "7abc72469933c40bdc7334615610cade9554bf00945a1cebf84f8d079ec325d26fefd76fe51cb589bdbe208ac9cd"
    'bd63351ddad24a57559"}'
)


def test_an_event_of_other_software_verifies() -> None:
    """An event signed elsewhere, with quotes and line breaks in it, has the id that it claims."""
    event = verify(parse_event_json(FOREIGN))
    assert event.kind == 1
    assert event.tag_values("client") == ("astral",)


@pytest.mark.parametrize(
    ("content", "escaped"),
    [
        ("\n", r"\n"),
        ('"', r"\""),
        ("\\", r"\\"),
        ("\r", r"\r"),
        ("\t", r"\t"),
        ("\b", r"\b"),
        ("\f", r"\f"),
        ("/", "/"),
        ("é漢🦊", "é漢🦊"),
        ("\u2028\u2029\x7f\x80", "\u2028\u2029\x7f\x80"),
        ("\0\x1f", r"\u0000\u001f"),  # as JSON.stringify, see the docstring of canonical
    ],
)
def test_the_escapes_of_nip01(content: str, escaped: str) -> None:
    """Seven characters are escaped as NIP-01 says, all others stand as they are."""
    text = canonical("ab" * 32, 1, 2, (("t", content),), content).decode()
    assert text == f'[0,"{"ab" * 32}",1,2,[["t","{escaped}"]],"{escaped}"]'


@given(TEMPLATES, SECRET_KEYS)
def test_what_is_signed_verifies(template: EventTemplate, key: SecretKey) -> None:
    """A signed event has the template's fields, the key's pubkey, and holds."""
    event = sign_event(template, key)
    assert verify(event) is event
    assert event.id == event_id(template, key.pubkey)
    assert parse_template(event.to_dict()) == template


@given(EVENTS)
def test_parse_undoes_to_json(event: Event) -> None:
    """An event survives the wire, through another JSON writer too."""
    assert parse_event_json(event.to_json()) == event
    assert parse_event_json(json.dumps(event.to_dict())) == event
    assert parse_event_json(event.to_json().decode()) == event


@given(TEMPLATES)
def test_parse_template_undoes_to_dict(template: EventTemplate) -> None:
    """A template survives the wire; its own created_at counts, not the clock."""
    assert parse_template(json.loads(json.dumps(template.to_dict())), now=5) == template


@given(TEXTS)
def test_any_change_is_noticed(text: str) -> None:
    """A signature binds content, tags, kind, time and author."""
    changes: list[dict[str, Any]] = [
        {"content": EVENT.content + text + "."},
        {"tags": (*EVENT.tags, (text,))},
        {"kind": 2},
        {"created_at": EVENT.created_at + 1},
        {"pubkey": secret_key(2).pubkey},
        {"id": "0" * 64},
    ]
    for change in changes:
        with pytest.raises(InvalidEvent, match="event id does not match"):
            verify(replace(EVENT, **change))
    with pytest.raises(InvalidEvent, match="signature does not match"):
        verify(replace(EVENT, sig=sign_event(TEMPLATE, secret_key(2)).sig))


def test_a_pubkey_off_the_curve_signs_nothing() -> None:
    """A right id under an impossible pubkey is a wrong signature, not another error."""
    impossible = "f" * 64
    event = replace(EVENT, pubkey=impossible, id=event_id(TEMPLATE, impossible))
    with pytest.raises(InvalidEvent, match="signature does not match"):
        verify(event)


@given(JSON_VALUES)
def test_random_json_raises_only_invalid_event(value: object) -> None:
    """Whatever JSON holds is an event or InvalidEvent."""
    for parse in (parse_event, parse_template, parse_tags):
        try:
            parse(value)
        except InvalidEvent:
            continue


@given(st.sampled_from(sorted(EVENT.to_dict())), JSON_VALUES)
def test_a_wrong_field_raises_only_invalid_event(name: str, value: object) -> None:
    """An event with one field of any other JSON value is refused or of the right shape."""
    wire = json.loads(EVENT.to_json())
    wire[name] = value
    try:
        event = parse_event(wire)
    except InvalidEvent:
        return
    assert type(event.kind) is int
    assert isinstance(event.content, str)
    assert all(isinstance(item, str) for tag in event.tags for item in tag)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", EVENT.id.upper()),
        ("id", EVENT.id[:-1]),
        ("id", 5),
        ("pubkey", EVENT.pubkey + "0"),
        ("pubkey", None),
        ("sig", EVENT.sig[:-1] + "g"),
        ("kind", 65536),
        ("kind", -1),
        ("kind", 1.0),
        ("kind", True),
        ("kind", "1"),
        ("created_at", -1),
        ("created_at", MAX_TIMESTAMP + 1),
        ("created_at", 1.7e9),
        ("created_at", False),
        ("content", None),
        ("content", 5),
        ("tags", None),
        ("tags", {}),
        ("tags", "ab"),
        ("tags", ["ab"]),
        ("tags", [["e", 5]]),
        ("tags", [["e", None]]),
        ("tags", [["e", ["nested"]]]),
    ],
)
def test_a_field_of_the_wrong_shape_is_refused(name: str, value: object) -> None:
    """Strict: no number as text, no true as 1, no capitals, nothing out of range."""
    with pytest.raises(InvalidEvent):
        parse_event({**EVENT.to_dict(), name: value})


@pytest.mark.parametrize("name", sorted(EVENT.to_dict()))
def test_a_missing_field_is_named(name: str) -> None:
    """The error says which field is missing."""
    wire = EVENT.to_dict()
    del wire[name]
    with pytest.raises(InvalidEvent, match=f"field '{name}' is missing"):
        parse_event(wire)


def test_unknown_fields_are_dropped() -> None:
    """A field that NIP-01 does not name gets neither stored nor sent on."""
    event = parse_event({**EVENT.to_dict(), "seen_on": ["wss://x"], "nested": {"a": [1]}})
    assert event == EVENT
    assert b"seen_on" not in event.to_json()


def test_text_without_utf8_is_refused() -> None:
    """A lone surrogate has no UTF-8 and so no id: NIP-01's serialization can't hold it."""
    for text in (r'"\ud800"', '"\ud800"'):
        with pytest.raises(InvalidEvent):
            parse_event_json(f'{{"content":{text}}}')
    with pytest.raises(InvalidEvent, match="not valid Unicode"):
        sign_event(EventTemplate(1, "\ud800"), KEY)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # nostr-tools: the four fields of NIP-46
        ({"kind": 1, "content": "a", "tags": [["t", "b"]], "created_at": 7}, None),
        # NDK and nostr_sdk: pubkey beside them; NDK may add id and sig, welshman pubkey and id
        (
            {
                "kind": 1,
                "content": "a",
                "tags": [["t", "b"]],
                "created_at": 7,
                "pubkey": "x",
                "id": None,
                "sig": 5,
            },
            None,
        ),
        # hand-made clients leave out what they take for granted, or send null
        ({"kind": 1}, EventTemplate(1, "", (), 99)),
        (
            {"kind": 1, "content": None, "tags": None, "created_at": None},
            EventTemplate(1, "", (), 99),
        ),
        ({"kind": 1, "created_at": 0}, EventTemplate(1, "", (), 0)),
    ],
)
def test_templates_of_the_field(value: object, expected: EventTemplate | None) -> None:
    """Every template that client libraries are known to send is read, with our own defaults."""
    assert parse_template(value, now=99) == (expected or EventTemplate(1, "a", (("t", "b"),), 7))


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "{}",
        {},
        {"content": "a"},
        {"kind": None},
        {"kind": "1"},
        {"kind": 1, "content": 5},
        {"kind": 1, "tags": "x"},
        {"kind": 1, "tags": [[1]]},
        {"kind": 1, "created_at": "7"},
        {"kind": 1, "created_at": -1},
        {"kind": 1, "created_at": 7.5},
    ],
)
def test_what_is_no_template_is_refused(value: object) -> None:
    """Tolerance ends where a value would have to be guessed."""
    with pytest.raises(InvalidEvent):
        parse_template(value, now=99)


def test_without_a_clock_parse_template_reads_one() -> None:
    """A template without created_at and without `now` is of today."""
    assert parse_template({"kind": 1}).created_at > 1_700_000_000


def test_tag_values_are_the_first_values_in_order() -> None:
    """Only the first value of a tag is indexed, and a tag without a value has none."""
    event = replace(EVENT, tags=(("p", "a", "x"), ("e", "b"), ("p",), ("p", "c"), ()))
    assert event.tag_values("p") == ("a", "c")
    assert event.tag_values("x") == ()


def test_neither_content_nor_tags_are_in_a_repr() -> None:
    """A log line or traceback shows id, pubkey and kind, never what was written."""
    template = EventTemplate(4, "hidden text", (("subject", "hidden tag"),), 7)
    event = sign_event(template, KEY)
    assert "hidden" not in repr(template) + repr(event)
    assert event.id in repr(event)
    with pytest.raises(InvalidEvent) as caught:
        parse_event_json('{"id": "hidden text", "content": "hidden text"}')
    assert "hidden" not in str(caught.value)
