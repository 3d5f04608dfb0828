"""bunker_uri.py: bunker:// and nostrconnect://."""

import json
import re
from urllib.parse import parse_qsl, quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunker_core.errors import InvalidURI
from bunker_core.nips import nip19
from bunker_core.nips.bunker_uri import (
    MAX_RELAYS,
    MAX_SECRET,
    BunkerURI,
    NostrConnectURI,
    new_secret,
    parse_bunker_uri,
    parse_nostrconnect_uri,
)
from bunker_core.nips.nip46 import ClientMetadata, Permission
from support.strategies import HEX32

PUBKEY = "fa984bd7dbb282f07e16e7ae87b26a2a7b9b90b7246a44771f0cf5ae58018f52"
CLIENT = "83f3b2ae6aa368e8275397b9c26cf550101d63ebaab900d19dd4a4429f5ad8f5"
# nostr-tools 2.25.2, nip46.ts: what it takes as a bunker URI at all
NOSTR_TOOLS = re.compile(r"^bunker://([0-9a-f]{64})\??([?/\w:.=&%-]*)$", re.ASCII)

PRINTABLE = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Cf", "Co", "Cn", "Zs", "Zl", "Zp"])
)
RELAYS = st.lists(
    st.from_regex(r"wss?://[a-z]{1,9}\.example(:[1-9][0-9]{3})?(/[a-z]{1,5})?", fullmatch=True),
    min_size=1,
    max_size=4,
    unique=True,
).map(tuple)
SECRETS = PRINTABLE.filter(lambda text: 0 < len(text) <= MAX_SECRET)
METADATA = st.builds(
    ClientMetadata, *(PRINTABLE.map(lambda text: text[:40].replace("%", "")) for _ in range(3))
)
PERMISSIONS = st.lists(
    st.sampled_from(
        [Permission("sign_event", "1"), Permission("nip44_encrypt"), Permission("ping")]
    ),
    unique=True,
).map(tuple)


@given(st.builds(BunkerURI, HEX32, RELAYS, st.none() | SECRETS))
def test_parse_undoes_str_for_bunker(uri: BunkerURI) -> None:
    """A bunker URI survives a QR code, and nostr-tools takes every one that we write."""
    assert parse_bunker_uri(str(uri)) == uri
    assert NOSTR_TOOLS.fullmatch(str(uri))


@given(st.builds(NostrConnectURI, HEX32, RELAYS, SECRETS, PERMISSIONS, METADATA))
def test_parse_undoes_str_for_nostrconnect(uri: NostrConnectURI) -> None:
    """A nostrconnect URI survives with its permissions and metadata."""
    assert parse_nostrconnect_uri(str(uri)) == uri


@given(st.sampled_from(["bunker:", "bunker://", "nostrconnect://", ""]), st.text(max_size=150))
def test_random_text_raises_only_invalid_uri(scheme: str, text: str) -> None:
    """Whatever is typed or scanned is a URI or InvalidURI."""
    for parse in (parse_bunker_uri, parse_nostrconnect_uri):
        for candidate in (
            scheme + text,
            f"{scheme}{PUBKEY}?{text}",
            f"{scheme}{PUBKEY}?relay={text}",
        ):
            try:
                str(parse(candidate))
            except InvalidURI:
                continue


def test_the_example_of_nip46() -> None:
    """The nostrconnect URI that stands in NIP-46, `+` for a space included."""
    uri = parse_nostrconnect_uri(
        f"nostrconnect://{CLIENT}?relay=wss%3A%2F%2Frelay1.example.com&perms=nip44_encrypt%2C"
        "nip44_decrypt%2Csign_event%3A13%2Csign_event%3A14%2Csign_event%3A1059&name=My+Client&"
        "secret=0s8j2djs&relay=wss%3A%2F%2Frelay2.example2.com"
    )
    assert uri == NostrConnectURI(
        CLIENT,
        ("wss://relay1.example.com", "wss://relay2.example2.com"),
        "0s8j2djs",
        (
            Permission("nip44_encrypt"),
            Permission("nip44_decrypt"),
            Permission("sign_event", "13"),
            Permission("sign_event", "14"),
            Permission("sign_event", "1059"),
        ),
        ClientMetadata("My Client"),
    )


@pytest.mark.parametrize(
    "text",
    [
        f"bunker://{PUBKEY}?relay=wss://r.example&secret=s",
        f"bunker://{PUBKEY}?relay=wss%3A%2F%2Fr.example&secret=s",
        f"bunker://{PUBKEY}?relay=wss%253A%252F%252Fr.example&secret=s",  # encoded twice
        f"bunker://{PUBKEY}/?relay=wss://r.example/&secret=s",
        f"bunker:{PUBKEY}?relay=wss://r.example&secret=s",
        f"BUNKER://{PUBKEY.upper()}?relay=WSS://R.EXAMPLE:443&secret=s",
        f"  bunker://{PUBKEY}?secret=s&relay=&relay=wss://r.example&relay=wss://r.example/&x=y\n",
        f"bunker://{nip19.encode_npub(PUBKEY)}?relay=wss://r.example&secret=s",
        f"bunker://02{PUBKEY}?relay=wss://r.example&secret=s",  # a compressed point
        f"bunker://{nip19.encode_npub(PUBKEY)}@r.example?secret=s",  # of before the query
        f"bunker://{PUBKEY}@wss://r.example?secret=s",
        f"bunker://{PUBKEY}?relay=http://r&relay=wss://r.example&relay=wss://&secret=s",
    ],
)
def test_bunker_uris_of_the_field(text: str) -> None:
    """Encoded once, twice or not at all, with capitals, slashes or an npub: the same URI."""
    assert parse_bunker_uri(text) == BunkerURI(PUBKEY, ("wss://r.example",), "s")


@pytest.mark.parametrize("query", ["", "&secret="])
def test_an_empty_secret_is_none(query: str) -> None:
    """The secret is optional, and empty means absent."""
    assert parse_bunker_uri(f"bunker://{PUBKEY}?relay=wss://r{query}").secret is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        # nostr-tools and applesauce: URLSearchParams
        (
            urlencode(
                {
                    "relay": "wss://r.example",
                    "secret": "s",
                    "perms": "sign_event:1",
                    "name": "My App",
                }
            ),
            (("sign_event:1",), ClientMetadata("My App")),
        ),
        # NDK: empty fields before all others
        (
            "image=&url=&name=&perms=&secret=s&relay=wss%3A%2F%2Fr.example",
            ((), ClientMetadata()),
        ),
        # NDK of old: encoded twice
        (
            "image=&url=https%253A%252F%252Fa.example&name=My%2520App&perms=sign_event%253A1%252Cping"
            "&secret=s&relay=wss%253A%252F%252Fr.example",
            (("sign_event:1", "ping"), ClientMetadata("My App", "https://a.example")),
        ),
        # nostr_sdk and the older NIP: one JSON object
        (
            "metadata="
            + quote('{"name":"My App","url":"https://a.example","description":"x"}')
            + "&relay=wss%3A%2F%2Fr.example&secret=s",
            ((), ClientMetadata("My App", "https://a.example")),
        ),
        (
            "metadata="
            + quote('{"name":"Old","perms":"ping"}')
            + "&name=New&relay=wss://r.example&secret=s",
            (("ping",), ClientMetadata("New")),
        ),
        ("metadata=%7B&relay=wss://r.example&secret=s", ((), ClientMetadata())),
        ("metadata=%5B%5D&relay=wss://r.example&secret=s", ((), ClientMetadata())),
        # spaces between permissions
        (
            "relay=wss://r.example&secret=s&perms=sign_event:1,%20ping,+nip04_decrypt",
            (("sign_event:1", "ping", "nip04_decrypt"), ClientMetadata()),
        ),
    ],
)
def test_nostrconnect_uris_of_the_field(
    query: str, expected: tuple[tuple[str, ...], ClientMetadata]
) -> None:
    """Every way in which libraries write permissions and metadata is read."""
    uri = parse_nostrconnect_uri(f"nostrconnect://{CLIENT}?{query}")
    assert (uri.client_pubkey, uri.relays, uri.secret) == (CLIENT, ("wss://r.example",), "s")
    assert (tuple(map(str, uri.permissions)), uri.metadata) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a bunker"),
        ("bunker", "not a bunker"),
        (f"https://{PUBKEY}?relay=wss://r", "not a bunker"),
        (f"nostrconnect://{PUBKEY}?relay=wss://r&secret=s", "not a bunker"),
        ("bunker://", "no public key"),
        (f"bunker://{PUBKEY[:-1]}?relay=wss://r", "no public key"),
        (f"bunker://host@{PUBKEY}?relay=wss://r", "no public key"),
        (f"bunker://{PUBKEY}?relay=wss://&relay=http://r", "no host"),
        (f"bunker://{'é' * 64}?relay=wss://r", "no public key"),
        (f"bunker://{PUBKEY}", "names no relay"),
        (f"bunker://{PUBKEY}?relay=", "names no relay"),
        (f"bunker://{PUBKEY}?relay=https://r", "does not start with ws"),
        (f"bunker://{PUBKEY}?relay=wss://", "no host"),
        (f"bunker://{PUBKEY}?relay=%ff", "can't be read"),
        (f"bunker://{PUBKEY}?" + "&".join(f"relay=wss://r{n}" for n in range(21)), "more than 20"),
        (f"bunker://{PUBKEY}?" + "x=y&" * 100 + "relay=wss://r", "can't be read"),
        (f"bunker://{PUBKEY}?relay=wss://r&secret={'s' * 257}", "secret is too long"),
        (f"bunker://{PUBKEY}?relay=wss://r&secret=%00", "control characters"),
        (f"bunker://{PUBKEY}?relay=wss://r&secret=" + "s" * 20_000, "URI is too long"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    """A malformed URI is refused with one short sentence that does not repeat it."""
    with pytest.raises(InvalidURI, match=message) as caught:
        parse_bunker_uri(text)
    assert len(str(caught.value)) < 80
    assert "\n" not in str(caught.value)


def test_an_invitation_without_a_secret_is_read_as_that() -> None:
    """rust-nostr up to 0.44 sends none: the signer's owner is told, and the client is served."""
    for query in ("", "&secret="):
        uri = parse_nostrconnect_uri(f"nostrconnect://{CLIENT}?relay=wss://r{query}")
        assert uri.secret is None
        assert "secret=" not in str(uri)


def test_an_invitation_has_the_older_metadata_too() -> None:
    """rust-nostr up to 0.44 reads none without `metadata=`, and wants a name in it."""
    for name in ("", "An app"):
        uri = NostrConnectURI(CLIENT, ("wss://r",), "s", (), ClientMetadata(name))
        values = dict(parse_qsl(str(uri).partition("?")[2]))
        assert json.loads(values["metadata"]) == {"name": name}
        assert parse_nostrconnect_uri(str(uri)) == uri


def test_relays_are_bounded_but_not_below_use() -> None:
    """Twenty relays are read, in order; see the refusal of 21 above."""
    relays = tuple(f"wss://r{number}" for number in range(MAX_RELAYS))
    assert parse_bunker_uri(str(BunkerURI(PUBKEY, relays))).relays == relays


def test_a_secret_is_in_the_uri_and_nowhere_else() -> None:
    """str is what goes to the user; repr and errors, which go to logs, leave the secret out."""
    for uri in (
        BunkerURI(PUBKEY, ("wss://r",), "hidden"),
        NostrConnectURI(PUBKEY, ("wss://r",), "hidden", (Permission("ping"),)),
    ):
        assert "hidden" in str(uri)
        assert "hidden" not in repr(uri)
        assert PUBKEY in repr(uri)
    for query in ("relay=x&secret=hidden", "relay=wss://r&secret=hidden%00", "secret=hidden"):
        with pytest.raises(InvalidURI) as caught:
            parse_bunker_uri(f"bunker://{PUBKEY}?{query}")
        assert "hidden" not in str(caught.value)


def test_an_nsec_in_place_of_the_pubkey_is_not_repeated() -> None:
    """A URI made by hand from the wrong key does not bring that key into an error."""
    nsec = nip19.encode_nsec(bytearray(b"\x07" * 32))
    with pytest.raises(InvalidURI) as caught:
        parse_bunker_uri(f"bunker://{nsec}?relay=wss://r")
    assert nsec not in str(caught.value)


def test_new_secrets_fit_every_library() -> None:
    """Fresh, 8 to 128 characters for snstr, and nothing that nostr-tools can't read."""
    assert new_secret() != new_secret()
    assert re.fullmatch(r"[A-Za-z0-9_-]{8,128}", new_secret())
