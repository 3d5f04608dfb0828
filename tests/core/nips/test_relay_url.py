"""relay_url.py: one spelling for each relay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunker_core.errors import InvalidURI
from bunker_core.nips.relay_url import MAX_URL, is_loopback, parse_relay_url


@given(st.sampled_from(["", "ws://", "wss://", "wss://[", "wss://r:"]), st.text(max_size=80))
def test_the_normal_form_is_its_own(scheme: str, text: str) -> None:
    """Any text is refused with InvalidURI, or has a normal form that stays as it is."""
    try:
        url = parse_relay_url(scheme + text)
    except InvalidURI:
        return
    assert parse_relay_url(url) == url
    assert url.split("/")[2].isascii()
    is_loopback(url)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("wss://relay.example.com", "wss://relay.example.com"),
        ("wss://relay.example.com/", "wss://relay.example.com"),
        ("WSS://Relay.Example.COM:443/", "wss://relay.example.com"),
        ("ws://relay.example.com:80", "ws://relay.example.com"),
        ("ws://relay.example.com:443", "ws://relay.example.com:443"),
        ("wss://relay.example.com:", "wss://relay.example.com"),
        (" wss://relay.example.com\n", "wss://relay.example.com"),
        ("wss://relay.example.com/Path/", "wss://relay.example.com/Path/"),
        ("wss://relay.example.com/?a=B", "wss://relay.example.com?a=B"),
        ("wss://relay.example.com/inbox?a=B", "wss://relay.example.com/inbox?a=B"),
        ("ws://127.0.0.1:7777/", "ws://127.0.0.1:7777"),
        ("ws://localhost", "ws://localhost"),
        ("ws://nostr_relay:8080", "ws://nostr_relay:8080"),  # a container's name
        ("ws://[::1]:7777", "ws://[::1]:7777"),
        ("ws://[2001:DB8::1]/", "ws://[2001:db8::1]"),
        ("wss://bücher.example", "wss://xn--bcher-kva.example"),
        ("ws://abcdefghijklmnop.onion", "ws://abcdefghijklmnop.onion"),
    ],
)
def test_spellings_of_one_relay(text: str, url: str) -> None:
    """Case, default port, slash and IDNA make no other relay of it; path and query do."""
    assert parse_relay_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "relay.example.com",
        "//relay.example.com",
        "https://relay.example.com",
        "ws:relay.example.com",
        "wss://",
        "wss:///path",
        "wss://:443",
        "wss://relay.example.com:65536",
        "wss://relay.example.com:port",
        "wss://user@relay.example.com",
        "wss://user:password@relay.example.com",
        "wss://@relay.example.com",
        "wss://relay.example.com#fragment",
        "wss://relay example.com",
        "wss://relay\x00.example.com",
        "wss://relay.example.com\r\nHost: evil",
        "wss://[::1",
        "wss://[not-an-address]",
        "wss://[fe80::1%eth0]",  # an interface of this machine
        "wss://[v1.future]",
        "wss://relay.example.com\\@evil.example",  # browsers read a backslash as a slash
        "wss://relay,example",
        'wss://"relay"',
        "wss://%72elay.example.com",
        "wss://［",  # NFKC makes a bracket of it
        "wss://\ud800",
        "wss://" + "a" * MAX_URL,
    ],
)
def test_what_is_no_relay_url_is_refused(text: str) -> None:
    """What two libraries could read as two hosts, or one as a header, is no address."""
    with pytest.raises(InvalidURI) as caught:
        parse_relay_url(text)
    assert "password" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("ws://localhost", True),
        ("ws://relay.localhost:7777", True),
        ("ws://127.0.0.1:7777", True),
        ("ws://127.9.9.9", True),
        ("ws://[::1]:7777", True),
        ("ws://127.evil.example", False),
        ("ws://127.0.0.1.evil.example", False),
        ("ws://localhost.evil.example", False),
        ("ws://10.0.0.1", False),
        ("ws://0.0.0.0", False),
        ("ws://[::2]", False),
        ("ws://relay.example.com", False),
    ],
)
def test_only_this_machine_is_loopback(url: str, loopback: bool) -> None:
    """A name that only looks like 127.x is somebody else's machine, reached without TLS."""
    assert is_loopback(url) is loopback
