"""filter.py: which events a subscription wants."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunker_core.errors import InvalidFilter, UnsupportedFilter
from bunker_core.event import Event, EventTemplate, sign_event
from bunker_core.filter import Filter, parse_filter
from support.strategies import EVENTS, FILTERS, JSON_VALUES, secret_key

A, B = "a" * 64, "b" * 64
EVENT = sign_event(
    EventTemplate(
        1,
        "",
        (("e", A, B), ("t", "nostr"), ("t", "bunker"), ("d",), ("long", "x"), ("p", B)),
        1000,
    ),
    secret_key(1),
)


def wire_matches(wire: dict[str, list[object] | int], event: Event) -> bool:
    """NIP-01's words as code, on the JSON object: the other half of the comparison below."""
    fields = {"ids": event.id, "authors": event.pubkey, "kinds": event.kind}
    for key, value in wire.items():
        if key == "since":
            held = event.created_at >= int(str(value))
        elif key == "until":
            held = event.created_at <= int(str(value))
        elif key == "limit":
            held = True
        elif key in fields:
            held = isinstance(value, list) and fields[key] in value
        else:
            held = isinstance(value, list) and any(
                tag[0] == key[1:] and len(tag) > 1 and tag[1] in value for tag in event.tags if tag
            )
        if not held:
            return False
    return True


@given(FILTERS)
def test_parse_undoes_to_dict(item: Filter) -> None:
    """A filter survives the wire."""
    assert parse_filter(json.loads(json.dumps(item.to_dict()))) == item


@given(FILTERS, EVENTS, st.data())
def test_matches_agrees_with_nip01(item: Filter, event: Event, data: st.DataObject) -> None:
    """`matches` says what the JSON object says, for events that are near the filter."""
    if item.authors and data.draw(st.booleans()):
        event = replace(event, pubkey=min(item.authors))
    if item.kinds and data.draw(st.booleans()):
        event = replace(event, kind=min(item.kinds))
    if item.ids and data.draw(st.booleans()):
        event = replace(event, id=min(item.ids))
    if data.draw(st.booleans()):
        tags = tuple((name, min(values)) for name, values in item.tags if values)
        event = replace(event, tags=event.tags + tags)
    if item.since is not None and item.since >= 0 and data.draw(st.booleans()):
        event = replace(event, created_at=min(item.since, 2**53 - 1))
    assert item.matches(event) is wire_matches(item.to_dict(), event)
    if item.never:
        assert not item.matches(event)


@given(JSON_VALUES)
def test_random_json_raises_only_invalid_filter(value: object) -> None:
    """Whatever JSON holds is a filter or InvalidFilter."""
    try:
        parsed = parse_filter(value)
    except InvalidFilter:
        return
    assert parsed.to_dict() is not None


@pytest.mark.parametrize(
    "wire",
    [
        {},
        {"kinds": [1]},
        {"authors": [EVENT.pubkey]},
        {"ids": [A, EVENT.id]},
        {"#e": [A]},
        {"#t": ["bunker"]},
        {"#t": ["nostr"], "#e": [A]},
        {"since": 1000, "until": 1000},
        {"limit": 0},
        {"kinds": [0, 1], "authors": [EVENT.pubkey], "since": 1},
    ],
)
def test_what_matches(wire: object) -> None:
    """All conditions hold, any value of a list is enough, both ends of the time are inside."""
    assert parse_filter(wire).matches(EVENT)


@pytest.mark.parametrize(
    "wire",
    [
        {"kinds": []},
        {"kinds": [2]},
        {"authors": [A]},
        {"ids": []},
        {"#e": [B]},  # B is the second value of the tag: only the first is indexed
        {"#t": []},
        {"#d": [""]},  # a tag without a value has no value
        {"#T": ["nostr"]},
        {"#t": ["nostr"], "#e": [B]},
        {"since": 1001},
        {"until": 999},
        {"since": 1001, "until": 999},
    ],
)
def test_what_does_not_match(wire: object) -> None:
    """One condition that fails is enough."""
    assert not parse_filter(wire).matches(EVENT)


@pytest.mark.parametrize(
    ("item", "never"),
    [
        (Filter(), False),
        (Filter(ids=frozenset()), True),
        (Filter(tags=(("t", frozenset()),)), True),
        (Filter(since=2, until=1), True),
        (Filter(since=1, until=1), False),
        (Filter(limit=0), False),
    ],
)
def test_never_sees_what_can_not_match(item: Filter, never: bool) -> None:
    """A relay need not ask its store for what no event can match; limit 0 still wants live ones."""
    assert item.never is never


@pytest.mark.parametrize(
    "wire",
    [
        None,
        [],
        "x",
        {"ids": "x"},
        {"ids": [A.upper()]},
        {"ids": [A[:-1]]},
        {"ids": [1]},
        {"authors": ["ab"]},  # NIP-01 has no prefixes any more
        {"authors": {A: 1}},
        {"kinds": [65536]},
        {"kinds": [-1]},
        {"kinds": [True]},
        {"kinds": [1.0]},
        {"kinds": 1},
        {"#e": ["short"]},
        {"#p": [A.upper()]},
        {"#t": [5]},
        {"#t": "x"},
        {"#tt": ["x"]},
        {"#": ["x"]},
        {"#1": ["x"]},
        {"#é": ["x"]},
        {"&t": ["x"]},
        {"since": "5"},
        {"since": True},
        {"since": 1.5},
        {"until": 2**63},
        {"limit": -1},
        {"limit": None},
        {"unknown": 1},
    ],
)
def test_what_is_no_filter_is_refused(wire: object) -> None:
    """A condition that can't be read is refused: to ignore it would send more than was asked."""
    with pytest.raises(InvalidFilter):
        parse_filter(wire)


def test_search_is_well_formed_but_not_spoken() -> None:
    """NIP-50 is answered with `unsupported`, not with `invalid`."""
    with pytest.raises(UnsupportedFilter):
        parse_filter({"search": "x"})


def test_a_tag_is_asked_by_its_letter() -> None:
    """`tag` gives the values asked for, or None."""
    item = parse_filter({"#p": [A], "#d": []})
    assert item.tag("p") == frozenset({A})
    assert item.tag("d") == frozenset()
    assert item.tag("e") is None
