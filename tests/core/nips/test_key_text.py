"""key_text.py: private keys as people have them."""

import codecs
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunker_core.errors import InvalidEntity
from bunker_core.nips.key_text import KeyText, decode_text, parse_key_text
from bunker_core.nips.nip19 import encode_npub, encode_nsec
from bunker_core.nips.nip49 import encrypt

SECRET = bytes(range(1, 33))
HEX, NSEC = SECRET.hex(), encode_nsec(bytearray(SECRET))
WORDS = "leader monkey parrot ring guide accident before fence cannon height naive bean"
NCRYPTSEC = encrypt(bytearray(SECRET), "x", log_n=1)


@pytest.mark.parametrize(
    "text",
    [
        NSEC,
        NSEC.upper(),
        f"nostr:{NSEC}",
        f"NOSTR:{NSEC.upper()}",
        f"\ufeff{NSEC}\r\n",
        f'"{NSEC}"',
        f"“{NSEC}”",
        f"  {NSEC}\n",
        HEX,
        HEX.upper(),
        f"0x{HEX}",
        f"0X{HEX.upper()}\n",
        json.dumps({"nsec": NSEC, "npub": encode_npub("79" * 32)}),
        json.dumps({"pubkey": "79" * 32, "privateKey": HEX}),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_key_is_taken_in_every_form(text: str, encoding: str) -> None:
    """Capitals, prefixes, quotes, a byte order mark, JSON: the same 32 bytes."""
    assert parse_key_text(text.encode(encoding)).secret == bytearray(SECRET)


@pytest.mark.parametrize(
    "text",
    [NCRYPTSEC, NCRYPTSEC.upper(), f"nostr:{NCRYPTSEC}", json.dumps({"ncryptsec": NCRYPTSEC})],
)
def test_an_encrypted_key_is_handed_on(text: str) -> None:
    """What its passphrase opens, in lower case, since bech32 in capitals is what QR codes hold."""
    assert parse_key_text(text.encode()) == KeyText(None, NCRYPTSEC)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no private key"),
        (HEX[:-1], "hex, but of 63"),
        (f"0x{HEX}ff", "hex, but of 66"),
        (encode_npub("79" * 32), "a public key"),
        ("note1qqqq", "a note"),
        (f"bunker://{'79' * 32}?relay=wss://r", "bunker URI"),
        (NSEC[:-1] + ("q" if NSEC[-1] != "q" else "p"), "wrong or missing"),
        (" ".join(["bean"] * 12), "checksum"),
        (f"bitnokey {WORDS[7:]}", "of 12, number 1 is not in"),
        ("{}", "no private key under a name"),
        ("{]", "begins like JSON"),
        ('{"nsec": 5}', "no private key under a name"),
        ('{"nsec": "{}"}', "no private key"),
        ("x" * 70_000, "too long"),
    ],
)
def test_what_is_none_is_named(text: str, said: str) -> None:
    """What it is, and what is wanted; the text itself is not repeated."""
    with pytest.raises(InvalidEntity, match=said) as caught:
        parse_key_text(text.encode())
    assert len(text) < 8 or text not in str(caught.value)


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ],
)
def test_text_is_read_as_editors_write_it(mark: bytes, encoding: str) -> None:
    """The mark in front says how, and is no part of the text; half a character is an error."""
    written = mark + "señal\n".encode(encoding)
    assert decode_text(written) == decode_text(bytearray(written)) == "señal\n"
    with pytest.raises(UnicodeDecodeError):
        decode_text(written + b"\xf1")


@given(st.binary(max_size=200))
def test_garbage_raises_only_invalid_entity(text: bytes) -> None:
    """Whatever is in a file."""
    with contextlib.suppress(InvalidEntity):
        parse_key_text(text)


def test_a_found_key_is_in_no_repr() -> None:
    """What ends in a log shows nothing."""
    for text in (NSEC, NCRYPTSEC):
        assert text[5:20] not in repr(parse_key_text(text.encode()))
