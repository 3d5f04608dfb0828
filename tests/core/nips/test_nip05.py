"""nip05.py: names, the document that a domain has of them, and where their signer is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunker_core.errors import InvalidInput
from bunker_core.nips.nip05 import Document, Identifier, parse_document, parse_identifier
from support.strategies import JSON_VALUES, secret_key

USER, SIGNER = secret_key(1).pubkey, secret_key(2).pubkey
RELAYS = ["wss://one.example", "wss://two.example"]


@pytest.mark.parametrize(
    ("text", "identifier", "url"),
    [
        (
            "alice@example.com",
            Identifier("alice", "example.com"),
            "https://example.com/.well-known/nostr.json?name=alice",
        ),
        (
            " Alice@Example.COM ",
            Identifier("alice", "example.com"),
            "https://example.com/.well-known/nostr.json?name=alice",
        ),
        (
            "example.com",
            Identifier("_", "example.com"),
            "https://example.com/.well-known/nostr.json?name=_",
        ),
        (
            "a.b_c-d@localhost:8080",
            Identifier("a.b_c-d", "localhost:8080"),
            "http://localhost:8080/.well-known/nostr.json?name=a.b_c-d",
        ),
    ],
)
def test_a_name_leads_to_its_document(text: str, identifier: Identifier, url: str) -> None:
    """https everywhere but on this machine; a domain alone is the name `_` (NIP-05)."""
    assert parse_identifier(text) == identifier
    assert parse_identifier(text).url == url
    assert parse_identifier(str(identifier)) == identifier


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice",
        "alice@",
        "@example.com",
        "a b@example.com",
        "a@b@c.d",
        "x@exa/mple.com",
        "é@x.de",
    ],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    """Nothing that could lead to another path or host than it seems."""
    with pytest.raises(InvalidInput, match="not a name"):
        parse_identifier(text)


def test_the_remote_signer_of_today_and_of_before() -> None:
    """`nip46.relays` is the signer's own; the older form maps the signer's pubkey to relays."""
    today = {"names": {"_": SIGNER}, "nip46": {"relays": RELAYS, "nostrconnect_url": "https://x.y"}}
    assert parse_document(today, "_") == Document(SIGNER, SIGNER, tuple(RELAYS), "https://x.y")
    before = {"names": {"alice": USER}, "nip46": {SIGNER: RELAYS}}
    assert parse_document(before, "alice") == Document(USER, SIGNER, tuple(RELAYS))
    assert parse_document({"names": {"alice": USER}}, "alice") == Document(USER, USER)


def test_bad_addresses_are_left_out() -> None:
    """One bad relay does not spoil the others; a URL that a browser would run is none."""
    value = {
        "names": {"_": SIGNER},
        "nip46": {"relays": ["http://x.y", 1, RELAYS[0]], "nostrconnect_url": "javascript:x"},
    }
    assert parse_document(value, "_") == Document(SIGNER, SIGNER, (RELAYS[0],))


@pytest.mark.parametrize(
    "value", [None, [], {}, {"names": []}, {"names": {"alice": "npub1"}}, {"names": {"bob": USER}}]
)
def test_a_document_without_the_name_is_refused(value: object) -> None:
    """No key in hex, no answer."""
    with pytest.raises(InvalidInput, match="no public key for 'alice'"):
        parse_document(value, "alice")


@given(st.text(max_size=40), JSON_VALUES, JSON_VALUES)
def test_hostile_input_raises_only_invalid_input(name: str, value: object, signer: object) -> None:
    """Names and documents of any shape are read or refused."""
    for parse in (
        lambda: parse_identifier(name),
        lambda: parse_document(value, name),
        lambda: parse_document({"names": {name: USER}, "nip46": signer}, name),
        lambda: parse_document({"names": {name: USER}, "nip46": {SIGNER: signer}}, name),
    ):
        try:
            parse()
        except InvalidInput:
            continue
