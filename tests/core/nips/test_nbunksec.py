"""nbunksec.py: a pairing in one text."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunker_core.errors import InvalidEntity, InvalidInput
from bunker_core.nips.bunker_uri import BunkerURI
from bunker_core.nips.nbunksec import encode_nbunksec, parse_nbunksec
from bunker_core.nips.nip19 import encode_bech32
from support.strategies import secret_key

RELAYS = ("wss://relay1.example.com", "wss://relay2.example.com")


@pytest.mark.parametrize("secret", ["test-secret", None])
def test_a_pairing_comes_back(secret: str | None) -> None:
    """Who signs, where, the secret, and the client's key."""
    uri = BunkerURI(secret_key(1).pubkey, RELAYS, secret)
    text = encode_nbunksec(uri, secret_key(2))
    assert text.startswith("nbunksec1")
    for form in (text, text.upper(), f" {text}\n"):
        found, key = parse_nbunksec(form)
        assert (found, key.pubkey) == (uri, secret_key(2).pubkey)


def test_the_layout_is_that_of_the_tools_that_made_it() -> None:
    """TLV: 0 remote signer, 1 client key, 2 relay, 3 secret; byte for byte."""
    remote = bytes.fromhex(secret_key(1).pubkey)
    key = bytearray(32)
    secret_key(2).copy_secret(key)
    data = b"\x00\x20" + remote + b"\x01\x20" + key + b"\x02\x09wss://r.x" + b"\x03\x01s"
    expected = encode_bech32("nbunksec", data)
    uri = BunkerURI(secret_key(1).pubkey, ("wss://r.x",), "s")
    assert encode_nbunksec(uri, secret_key(2)) == expected


@given(st.binary(max_size=200))
def test_garbage_raises_only_invalid_input(data: bytes) -> None:
    """Whatever is in the text, nothing of it is in the error."""
    with contextlib.suppress(InvalidInput):
        parse_nbunksec(encode_bech32("nbunksec", data))


def test_what_does_not_fit_is_refused() -> None:
    """A value is 255 bytes at most; another entity is none."""
    uri = BunkerURI(secret_key(1).pubkey, ("wss://" + "r" * 300,))
    with pytest.raises(InvalidEntity, match="too long"):
        encode_nbunksec(uri, secret_key(2))
    with pytest.raises(InvalidEntity, match="not an nbunksec"):
        parse_nbunksec(encode_bech32("nsec", bytes(32)))
