"""A private key in whatever form a person has it: nsec, hex, ncryptsec, seed words, JSON with one.

Quotes, a byte order mark, spaces, `nostr:` and `0x` in front, and capitals are what editors, shells
and QR codes add. What is something else is named, and what is wanted is said; no message repeats
the text.
"""

import codecs
import json
import re
from dataclasses import dataclass
from typing import Final

from bunker_core.errors import InvalidEntity
from bunker_core.keys import SECRET_BYTES, wipe
from bunker_core.nips.nip06 import WORD_COUNTS, secret_from_words
from bunker_core.nips.nip19 import decode_bech32

MAX_TEXT: Final = 64 * 1024  # bytes
WANTED: Final = "wanted is an nsec1…, an ncryptsec1…, 64 hex characters or seed words"

_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # Windows' Notepad writes them
_QUOTES: Final = "\"'`“”‘’«»"
_HEX: Final = re.compile(r"[0-9a-f]+")
# Under which an app's export has the key, the encrypted one first: it is the one that was meant.
_FIELDS: Final = (
    *("ncryptsec", "nsec", "privateKey", "private_key", "privatekey", "privkey", "secretKey"),
    *("secret_key", "seckey", "sec", "sk", "hex", "private", "secret"),
)


@dataclass(frozen=True, slots=True, repr=False)
class KeyText:
    """What was found: 32 bytes that the caller owns and wipes, or an ncryptsec. Not in a repr."""

    secret: bytearray | None = None
    ncryptsec: str = ""


def parse_key_text(text: bytes | bytearray, account: int = 0) -> KeyText:
    """Read a private key; raises InvalidEntity that says what the text is instead.

    `account` is which key of seed words is meant (NIP-06); other forms have one key.
    """
    if len(text) > MAX_TEXT:
        raise InvalidEntity(f"this is too long for a key; {WANTED}")
    try:
        decoded = decode_text(text)
    except UnicodeDecodeError:
        raise InvalidEntity(f"this is not text; {WANTED}") from None
    return _parse(decoded, account, in_json=False)


def decode_text(text: bytes | bytearray) -> str:
    """Decode UTF-8, or UTF-16 behind its byte order mark; neither's mark is part of the text.

    Raises UnicodeDecodeError.
    """
    encoding = "utf-16" if text.startswith(_UTF16) else "utf-8"
    return bytes(text).decode(encoding).removeprefix("\ufeff")


def _parse(text: str, account: int, *, in_json: bool) -> KeyText:
    text = text.strip().strip(_QUOTES).strip()
    if text.startswith("{") and not in_json:
        return _parse(_from_json(text), account, in_json=True)
    plain = text.lower()
    if len(plain.split()) in WORD_COUNTS:
        secret = bytearray(SECRET_BYTES)
        secret_from_words(plain, secret, account)
        return KeyText(secret)
    plain = plain.removeprefix("nostr:").removeprefix("//").removeprefix("0x")
    if _HEX.fullmatch(plain):
        if len(plain) != 64:
            raise InvalidEntity(f"this is hex, but of {len(plain)} characters; {WANTED}")
        return KeyText(bytearray.fromhex(plain))
    for name, what in (("npub1", "a public key"), ("nprofile1", "a profile"), ("note1", "a note")):
        if plain.startswith(name):
            raise InvalidEntity(f"this is {what} ({name[:-1]}); {WANTED}")
    if plain.startswith("bunker:"):
        raise InvalidEntity(f"this is a bunker URI, which has no key in it; {WANTED}")
    if not plain.startswith(("nsec1", "ncryptsec1")):
        raise InvalidEntity(f"this is no private key; {WANTED}")
    try:
        name, data = decode_bech32(plain)
    except InvalidEntity as error:
        kind = plain.partition("1")[0]
        raise InvalidEntity(f"{kind}: {error}: a character is wrong or missing") from None
    if name == "ncryptsec":
        return KeyText(ncryptsec=plain)
    if len(data) != 32:
        wipe(data)
        raise InvalidEntity("nsec does not hold 32 bytes")
    return KeyText(data)


def _from_json(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidEntity(f"this begins like JSON and is none; {WANTED}") from None
    for name in _FIELDS:
        found = value.get(name)
        if isinstance(found, str) and found:
            return found
    raise InvalidEntity(f"this JSON has no private key under a name that is known; {WANTED}")
