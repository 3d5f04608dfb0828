"""NIP-19: bech32 names for keys, events and addresses, for people to read, copy and scan."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from bunker_core.errors import InvalidEntity
from bunker_core.event import is_hex
from bunker_core.keys import Buffer

MAX_LENGTH: Final = 5000  # characters, NIP-19

_ALPHABET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_VALUES: Final = {character: value for value, character in enumerate(_ALPHABET)}
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)  # BIP-173
_CHECKSUM: Final = 6  # characters

# TLV types
_SPECIAL, _RELAY, _AUTHOR, _KIND = range(4)


@dataclass(frozen=True, slots=True)
class Npub:
    """A public key."""

    pubkey: str


@dataclass(frozen=True, slots=True, repr=False)
class Nsec:
    """A private key: 32 bytes that the caller owns and wipes. Not shown by repr."""

    secret: bytearray


@dataclass(frozen=True, slots=True)
class Note:
    """An event id."""

    event_id: str


@dataclass(frozen=True, slots=True)
class Nprofile:
    """A public key and where to look for it."""

    pubkey: str
    relays: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Nevent:
    """An event id, where to look for it, its author and kind if known."""

    event_id: str
    relays: tuple[str, ...] = ()
    author: str | None = None
    kind: int | None = None


@dataclass(frozen=True, slots=True)
class Naddr:
    """The address of a replaceable or addressable event."""

    identifier: str
    author: str
    kind: int
    relays: tuple[str, ...] = ()


Entity = Npub | Nsec | Note | Nprofile | Nevent | Naddr


def encode_npub(pubkey: str) -> str:
    """Return `npub1...` of 64 lower-case hex characters."""
    return encode(Npub(pubkey))


def parse_pubkey(text: str) -> str:
    """Return the pubkey that a person gave as hex (any case, 02 or 03 before it), npub or nprofile.

    Raises InvalidEntity; its message never repeats the text, which may be an nsec by mistake.
    """
    text = text.strip()
    if len(text) == 66 and text[:2] in ("02", "03"):
        text = text[2:]  # a compressed point: Nostr's key is its x coordinate (BIP-340)
    if is_hex(text.lower(), 64):
        return text.lower()
    match parse(text):
        case Npub(pubkey) | Nprofile(pubkey):
            return pubkey
        case Nsec(secret):
            secret[:] = bytes(len(secret))
            raise InvalidEntity("this is a private key (nsec), not a public key")
        case _:
            raise InvalidEntity("not a public key")


def encode(entity: Entity) -> str:
    """Return the bech32 text of `entity`; raises InvalidEntity when a field does not fit."""
    match entity:
        case Npub(pubkey):
            return encode_bech32("npub", _from_hex(pubkey))
        case Nsec(secret):
            return encode_nsec(secret)
        case Note(event_id):
            return encode_bech32("note", _from_hex(event_id))
        case Nprofile(pubkey, relays):
            return encode_bech32("nprofile", _tlv((_SPECIAL, _from_hex(pubkey)), *_relays(relays)))
        case Nevent(event_id, relays, author, kind):
            fields = [(_SPECIAL, _from_hex(event_id)), *_relays(relays)]
            if author is not None:
                fields.append((_AUTHOR, _from_hex(author)))
            if kind is not None:
                fields.append((_KIND, _kind(kind)))
            return encode_bech32("nevent", _tlv(*fields))
        case Naddr(identifier, author, kind, relays):
            return encode_bech32(
                "naddr",
                _tlv(
                    (_SPECIAL, _encode(identifier, "utf-8")),
                    *_relays(relays),
                    (_AUTHOR, _from_hex(author)),
                    (_KIND, _kind(kind)),
                ),
            )


def encode_nsec(secret: Buffer) -> str:
    """Return `nsec1...` of 32 bytes: a secret text that Python can't wipe, show it and drop it."""
    if len(secret) != 32:
        raise InvalidEntity("a private key has 32 bytes")
    return encode_bech32("nsec", secret)


def parse(text: str) -> Entity:
    """Read a NIP-19 entity; raises InvalidEntity. Unknown TLV types are skipped."""
    text = text.strip()
    if text[:6].lower() == "nostr:":  # NIP-21; a QR code has it in capitals
        text = text[6:]
    name, data = decode_bech32(text)
    match name:
        case "npub":
            return Npub(_hex32(data))
        case "nsec":
            if len(data) != 32:
                raise InvalidEntity("nsec does not hold 32 bytes")
            return Nsec(data)
        case "note":
            return Note(_hex32(data))
        case "nprofile" | "nevent" | "naddr":
            return _parse_tlv(name, bytes(data))
        case _:
            raise InvalidEntity("unknown kind of bech32 entity")


def _parse_tlv(name: str, data: bytes) -> Nprofile | Nevent | Naddr:
    special: bytes | None = None
    author: str | None = None
    kind: int | None = None
    relays: list[str] = []
    while data:
        if len(data) < 2 or len(data) < 2 + data[1]:
            raise InvalidEntity("bech32 entity ends in the middle of a field")
        tlv_type, value, data = data[0], data[2 : 2 + data[1]], data[2 + data[1] :]
        if tlv_type == _SPECIAL and special is None:
            special = value
        elif tlv_type == _RELAY:
            relays.append(_text(value, "ascii"))
        elif tlv_type == _AUTHOR:
            author = _hex32(value)
        elif tlv_type == _KIND:
            if len(value) != 4:
                raise InvalidEntity("kind is not 4 bytes")
            kind = int.from_bytes(value)
    if special is None:
        raise InvalidEntity("bech32 entity has no value")
    if name == "nprofile":
        return Nprofile(_hex32(special), tuple(relays))
    if name == "nevent":
        return Nevent(_hex32(special), tuple(relays), author, kind)
    if author is None or kind is None:
        raise InvalidEntity("naddr has no author or no kind")
    return Naddr(_text(special, "utf-8"), author, kind, tuple(relays))


def _relays(relays: Iterable[str]) -> list[tuple[int, bytes]]:
    return [(_RELAY, _encode(relay, "ascii")) for relay in relays]


def _tlv(*fields: tuple[int, bytes]) -> bytes:
    if any(len(value) > 255 for _, value in fields):
        raise InvalidEntity("a field is longer than 255 bytes")
    return b"".join(bytes((tlv_type, len(value))) + value for tlv_type, value in fields)


def _from_hex(text: str) -> bytes:
    if not is_hex(text, 64):
        raise InvalidEntity("expected 64 lower-case hex characters")
    return bytes.fromhex(text)


def _hex32(data: bytes | bytearray) -> str:
    if len(data) != 32:
        raise InvalidEntity("expected 32 bytes")
    return data.hex()


def _kind(kind: int) -> bytes:
    if not 0 <= kind < 2**32:
        raise InvalidEntity("kind is not a number of 4 bytes")
    return kind.to_bytes(4)


def _encode(text: str, encoding: str) -> bytes:
    try:
        return text.encode(encoding)
    except UnicodeEncodeError:
        raise InvalidEntity("text has a character that NIP-19 can't hold") from None


def _text(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise InvalidEntity("text in a bech32 entity can't be read") from None


def encode_bech32(name: str, data: Buffer | bytes) -> str:
    """Return the bech32 text (BIP-173) of `data` under the prefix `name`; raises InvalidEntity."""
    values = _regroup(data, 8, 5)
    if values is None:  # grouping 8 into 5 always pads
        raise AssertionError
    checksum = _polymod([*_expand(name), *values, *bytes(_CHECKSUM)]) ^ 1
    values += bytes((checksum >> 5 * (5 - i)) & 31 for i in range(_CHECKSUM))
    text = name + "1" + "".join(_ALPHABET[value] for value in values)
    if len(text) > MAX_LENGTH:
        raise InvalidEntity("bech32 entity is longer than 5000 characters")
    return text


def decode_bech32(text: str) -> tuple[str, bytearray]:
    """Return prefix and data of a bech32 text, the data in a buffer of the caller's.

    Raises InvalidEntity.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidEntity("bech32 entity is longer than 5000 characters")
    if text.lower() != text and text.upper() != text:
        raise InvalidEntity("bech32 text mixes upper and lower case")
    name, separator, payload = text.lower().rpartition("1")
    if not separator or not name or len(payload) < _CHECKSUM:
        raise InvalidEntity("not a bech32 text")
    values = bytearray()
    for character in payload:
        if character not in _VALUES:
            raise InvalidEntity("bech32 text has a character that is not allowed")
        values.append(_VALUES[character])
    if not name.isascii() or _polymod([*_expand(name), *values]) != 1:
        raise InvalidEntity("bech32 checksum does not match")
    data = _regroup(values[:-_CHECKSUM], 5, 8)
    if data is None:
        raise InvalidEntity("bech32 text has wrong padding")
    return name, data


def _expand(name: str) -> list[int]:
    codes = name.encode()
    return [code >> 5 for code in codes] + [0] + [code & 31 for code in codes]


def _polymod(values: Iterable[int]) -> int:
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATOR):
            if top >> bit & 1:
                checksum ^= generator
    return checksum


def _regroup(data: Buffer | bytes, from_bits: int, to_bits: int) -> bytearray | None:
    """Regroup bits; going down to 5 pads with zeros, going up to 8 returns None unless it was so.

    A bytearray all along, so that an nsec leaves no immutable copy of its key here.
    """
    accumulator = bits = 0
    result = bytearray()
    for value in data:
        accumulator = (accumulator << from_bits | value) & 0xFFF
        bits += from_bits
        while bits >= to_bits:
            bits -= to_bits
            result.append(accumulator >> bits & (1 << to_bits) - 1)
    rest = accumulator & (1 << bits) - 1
    if from_bits > to_bits:
        if bits:
            result.append(rest << to_bits - bits)
    elif bits >= from_bits or rest:
        return None
    return result
