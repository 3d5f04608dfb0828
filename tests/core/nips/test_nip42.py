"""nip42.py: authentication of a client to a relay."""

from dataclasses import replace

import pytest
from hypothesis import given

from bunker_core.errors import InvalidAuth
from bunker_core.event import Event, EventTemplate, Tags, sign_event
from bunker_core.keys import SecretKey
from bunker_core.kinds import CLIENT_AUTH
from bunker_core.nips.nip42 import MAX_SKEW, auth_template, check_auth
from support.strategies import SECRET_KEYS, TEXTS, secret_key

NOW = 1_700_000_000
RELAYS = frozenset({"wss://relay.example.com", "ws://127.0.0.1:7777"})
CHALLENGE = "challengestringhere"


def signed(tags: Tags, *, kind: int = CLIENT_AUTH, created_at: int = NOW) -> Event:
    return sign_event(EventTemplate(kind, "", tags, created_at), secret_key(1))


@given(SECRET_KEYS, TEXTS.filter(bool))
def test_what_auth_template_makes_check_auth_accepts(key: SecretKey, challenge: str) -> None:
    """The client's answer authenticates it, whatever text the relay chose as challenge."""
    event = sign_event(auth_template("wss://relay.example.com", challenge, NOW), key)
    assert check_auth(event, RELAYS, challenge, NOW).pubkey == key.pubkey


@pytest.mark.parametrize(
    "url",
    ["wss://relay.example.com/", "WSS://Relay.Example.com:443", "ws://127.0.0.1:7777/"],
)
def test_the_relay_is_compared_in_its_normal_form(url: str) -> None:
    """Another spelling of the same relay counts: NIP-42's own example has a trailing slash."""
    check_auth(signed((("relay", url), ("challenge", CHALLENGE))), RELAYS, CHALLENGE, NOW)


@pytest.mark.parametrize("skew", [-MAX_SKEW, MAX_SKEW])
def test_clocks_may_differ_by_ten_minutes(skew: int) -> None:
    """created_at may be ten minutes off, to either side, and not a second more."""
    tags = auth_template("wss://relay.example.com", CHALLENGE, NOW).tags
    check_auth(signed(tags, created_at=NOW + skew), RELAYS, CHALLENGE, NOW)
    with pytest.raises(InvalidAuth, match="clock"):
        check_auth(
            signed(tags, created_at=NOW + skew + (1 if skew > 0 else -1)), RELAYS, CHALLENGE, NOW
        )


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ((), "challenge"),
        ((("relay", "wss://relay.example.com"),), "challenge"),
        ((("challenge", CHALLENGE),), "relay"),
        ((("relay", "wss://relay.example.com"), ("challenge", "other")), "challenge"),
        ((("relay", "wss://relay.example.com"), ("challenge", "")), "challenge"),
        ((("relay", "wss://relay.example.com"), ("challenge",)), "challenge"),
        ((("relay", "wss://relay.example.com"), ("challenge", "\ud800")), "challenge"),
        (
            (
                ("relay", "wss://relay.example.com"),
                ("challenge", "other"),
                ("challenge", CHALLENGE),
            ),
            "challenge",
        ),
        (
            (
                ("relay", "wss://relay.example.com"),
                ("challenge", CHALLENGE),
                ("challenge", "other"),
            ),
            "challenge",
        ),
        ((("relay", "wss://other.example.com"), ("challenge", CHALLENGE)), "relay"),
        ((("relay", "ws://relay.example.com"), ("challenge", CHALLENGE)), "relay"),
        ((("relay", "not a url"), ("challenge", CHALLENGE)), "relay"),
        (
            (
                ("relay", "wss://relay.example.com"),
                ("relay", "wss://other.example.com"),
                ("challenge", CHALLENGE),
            ),
            "relay",
        ),
    ],
)
def test_tags_that_do_not_match_are_refused(tags: Tags, message: str) -> None:
    """Challenge and relay both have to match, and there is one challenge only."""
    event = Event("0" * 64, secret_key(1).pubkey, NOW, CLIENT_AUTH, tags, "", "0" * 128)
    with pytest.raises(InvalidAuth, match=f"{message} does not match"):
        check_auth(event, RELAYS, CHALLENGE, NOW)


def test_another_kind_or_a_wrong_signature_is_refused() -> None:
    """An event of another kind is no answer, and what is not signed proves nothing."""
    tags = auth_template("wss://relay.example.com", CHALLENGE, NOW).tags
    with pytest.raises(InvalidAuth, match="kind"):
        check_auth(signed(tags, kind=1), RELAYS, CHALLENGE, NOW)
    event = signed(tags)
    with pytest.raises(InvalidAuth, match="signature does not match"):
        check_auth(replace(event, sig="0" * 128), RELAYS, CHALLENGE, NOW)
    with pytest.raises(InvalidAuth, match="id does not match"):
        check_auth(replace(event, created_at=NOW + 1), RELAYS, CHALLENGE, NOW)
