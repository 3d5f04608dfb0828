"""Every parser against truncated, oversized, deeply nested and random text."""

import json
from collections.abc import Callable
from functools import partial

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bunker_core.errors import (
    BunkerError,
    CryptoError,
    InvalidEntity,
    InvalidEvent,
    InvalidFilter,
    InvalidMessage,
    InvalidRPC,
    InvalidURI,
)
from bunker_core.event import EventTemplate, parse_event_json, parse_template, sign_event
from bunker_core.filter import parse_filter
from bunker_core.messages import parse_client_message, parse_relay_message
from bunker_core.nips import nip04, nip19, nip44
from bunker_core.nips.bunker_uri import parse_bunker_uri, parse_nostrconnect_uri
from bunker_core.nips.nip46 import (
    parse_metadata,
    parse_permissions,
    parse_relay_list,
    parse_request,
    parse_response,
)
from bunker_core.nips.relay_url import parse_relay_url
from support.strategies import secret_key

KEY = bytes(range(32))
EVENT = sign_event(EventTemplate(1, "hello\n🦊", (("p", "a" * 64),), 1), secret_key(1))
EVENT_JSON = EVENT.to_json().decode()
NPROFILE = nip19.encode(nip19.Nprofile(EVENT.pubkey, ("wss://relay.example.com",)))


def from_json(parse: Callable[[object], object], text: str) -> object:
    """Feed a parser of JSON values with text; text that is no JSON never reaches it."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return parse(value)


# parser, the error that it documents, a text that it reads
PARSERS: dict[str, tuple[Callable[[str], object], type[BunkerError], str]] = {
    "client EVENT": (parse_client_message, InvalidMessage, f'["EVENT",{EVENT_JSON}]'),
    "client REQ": (
        parse_client_message,
        InvalidMessage,
        '["REQ","s",{"ids":["' + "a" * 64 + '"],"#t":["x"],"limit":5}]',
    ),
    "client CLOSE": (parse_client_message, InvalidMessage, '["CLOSE","s"]'),
    "relay EVENT": (parse_relay_message, InvalidMessage, f'["EVENT","s",{EVENT_JSON}]'),
    "relay OK": (parse_relay_message, InvalidMessage, '["OK","' + "a" * 64 + '",true,""]'),
    "relay COUNT": (parse_relay_message, InvalidMessage, '["COUNT","s",{"count":5}]'),
    "event": (parse_event_json, InvalidEvent, EVENT_JSON),
    "filter": (partial(from_json, parse_filter), InvalidFilter, '{"kinds":[1],"since":5}'),
    "template": (
        partial(from_json, partial(parse_template, now=1)),
        InvalidEvent,
        '{"kind":1,"content":"x","tags":[["t","x"]],"created_at":5}',
    ),
    "request": (parse_request, InvalidRPC, '{"id":"1","method":"connect","params":["x","y"]}'),
    "response": (parse_response, InvalidRPC, '{"id":"1","result":{"a":[1]},"error":""}'),
    "relay list": (parse_relay_list, InvalidRPC, '["wss://a.example"]'),
    "permissions": (parse_permissions, InvalidRPC, "sign_event:1,nip44_encrypt"),
    "metadata": (parse_metadata, InvalidRPC, '{"name":"App","url":"https://a.example"}'),
    "bunker URI": (
        parse_bunker_uri,
        InvalidURI,
        f"bunker://{EVENT.pubkey}?relay=wss%3A%2F%2Fr.example&secret=s",
    ),
    "nostrconnect URI": (
        parse_nostrconnect_uri,
        InvalidURI,
        f"nostrconnect://{EVENT.pubkey}?relay=wss%3A%2F%2Fr.example&secret=s&perms=ping&metadata="
        "%7B%22name%22%3A%22App%22%7D",
    ),
    "relay URL": (parse_relay_url, InvalidURI, "wss://relay.example.com:7777/path?query"),
    "entity": (nip19.parse, InvalidEntity, NPROFILE),
    "pubkey": (nip19.parse_pubkey, InvalidEntity, NPROFILE),
    "nip44": (
        lambda text: nip44.decrypt(text, KEY),
        CryptoError,
        nip44.encrypt("hello", KEY, KEY),
    ),
    "nip04": (
        lambda text: nip04.decrypt(text, KEY),
        CryptoError,
        nip04.encrypt("hello", KEY, KEY[:16]),
    ),
}

every_parser = pytest.mark.parametrize("name", PARSERS)


def survives(name: str, text: str) -> None:
    """Let the parser read `text` or raise the error that it documents; anything else fails."""
    parse, documented, _ = PARSERS[name]
    try:
        repr(parse(text))
    except documented as error:
        sentence = str(error)
    else:
        return
    assert len(sentence) < 120  # an error is a short sentence, never the input


@every_parser
def test_the_example_is_read(name: str) -> None:
    """The texts that the tests below damage are good ones."""
    parse, _, text = PARSERS[name]
    assert parse(text)


@every_parser
def test_truncated_text(name: str) -> None:
    """A text that ends anywhere is refused as documented, or is a shorter good one."""
    text = PARSERS[name][2]
    for length in range(len(text)):
        survives(name, text[:length])
        survives(name, text[length:])


@every_parser
@given(data=st.data())
@settings(max_examples=60)
def test_damaged_text(name: str, data: st.DataObject) -> None:
    """A text with a part replaced by any other is refused as documented, or read."""
    text = PARSERS[name][2]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 8)))
    survives(name, text[:start] + data.draw(st.text(max_size=6)) + text[end:])


@every_parser
@given(text=st.text(max_size=120))
@settings(max_examples=60)
def test_random_text(name: str, text: str) -> None:
    """Any text at all, lone surrogates included, is refused as documented, or read."""
    survives(name, text)


@every_parser
@pytest.mark.parametrize("depth", [200, 1000, 100_000])
@pytest.mark.parametrize("opening", ["[", '{"a":', '[["EVENT",', '{"id":"1","result":'])
def test_deeply_nested_text(name: str, depth: int, opening: str) -> None:
    """Nesting neither overflows the stack nor escapes as RecursionError, closed or not."""
    closing = {"[": "]", "{": "}"}
    ends = "".join(closing[character] for character in reversed(opening) if character in closing)
    survives(name, opening * depth)
    survives(name, opening * depth + "1" + ends * depth)


@every_parser
def test_nested_text_in_the_place_of_a_value(name: str) -> None:
    """Each value of the example replaced by a deep one is refused as documented, or dropped."""
    for depth in (200, 300, 900):
        deep = "[" * depth + "]" * depth
        text = PARSERS[name][2]
        for part in ('"x"', "5", "true", "[1]", '""', '"s"', "1"):
            if part in text:
                survives(name, text.replace(part, deep, 1))


@every_parser
def test_oversized_text(name: str) -> None:
    """A megabyte of one character, or of the example, is refused or read in a moment."""
    for character in ("a", "1", "[", '"', "%", ",", "A", "=", "\\", "\0", "é", "🦊", "\ud800"):
        survives(name, character * 1_000_000)
    text = PARSERS[name][2]
    survives(name, text * (1_000_000 // len(text)))
    survives(name, text[:-1] + "x" * 1_000_000 + text[-1])


@every_parser
def test_numbers_beyond_every_bound(name: str) -> None:
    """Integers of thousands of digits and floats without end are no integers of ours."""
    for number in ("9" * 5000, "-" + "9" * 5000, "1e999", "-0", "0.1", "NaN", str(2**64), "1E2"):
        for text in (number, f'{{"kind":{number}}}', f'{{"id":{number},"method":"x"}}'):
            survives(name, text)
        survives(name, f'["EVENT",{{"id":"{"a" * 64}","kind":{number}}}]')
        survives(name, f'["REQ","s",{{"limit":{number}}}]')
        survives(name, f'["COUNT","s",{{"count":{number}}}]')


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b'["EVENT","\xff"]', b'\xef\xbb\xbf["CLOSE","s"]', b'["CLOSE","\xed\xa0\x80"]'],
)
def test_bytes_that_are_no_utf8(data: bytes) -> None:
    """A frame may hold any bytes: what is not UTF-8 is not JSON."""
    for parse in (parse_client_message, parse_relay_message):
        with pytest.raises(InvalidMessage):
            parse(data)
    with pytest.raises(InvalidEvent):
        parse_event_json(data)


def test_a_bad_message_keeps_the_error_of_its_part() -> None:
    """InvalidMessage says what was wrong with the event inside of it."""
    broken = json.loads(EVENT_JSON) | {"kind": -1}
    with pytest.raises(InvalidMessage, match="kind is not an integer") as caught:
        parse_client_message(json.dumps(["EVENT", broken]))
    assert caught.value.event_id == EVENT.id
