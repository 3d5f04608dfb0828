"""The sealed key as it is stored. Version 1 is the reference package's, version 2 is ours.

Version 2 seals the private key under a random data key, and the data key once in every slot, each
under the wrapping key of one protector. All of it is authenticated:

    ciphertext    AES-256-GCM(data key, private key), bound to the fields that say whose it is
    slots[].ct    AES-256-GCM(wrapping key, data key), bound to the pubkey and the slot's parameters
    mac           AES-256-GCM(data key, nothing), bound to the whole file

The text is canonical JSON (sorted, compact) and no other text is read. The mac is apart from the
ciphertext so that a damaged slot can't take the key with it: `ciphertext` depends on no slot.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import orjson

from bunker_core.event import MAX_TIMESTAMP, is_hex
from bunker_core.nips.nip19 import encode_npub
from bunker_signer.nse.errors import NSEError, NSEErrorCode
from bunker_signer.nse.storage import MAX_BLOB_BYTES

Params = Mapping[str, str | int]

MAX_SLOTS: Final = 16
MAX_PARAMS: Final = 16
_NONCE_HEX: Final = 24
_SEALED_HEX: Final = 96
_MAC_HEX: Final = 56  # nonce and tag
_MAX_GEN: Final = 2**31


@dataclass(frozen=True, slots=True)
class BlobV1:
    """The format of nostr-secure-enclave 0.1: the key under the master key itself, no AAD."""

    version: int
    ciphertext: str
    iv: str
    pubkey: str
    npub: str
    created_at: int
    hardware_backed: bool

    def __post_init__(self) -> None:
        _check_common(self)
        if self.hardware_backed:
            raise damaged("version 1 has no hardware-backed keys")

    @property
    def aad(self) -> None:
        return None

    def to_json(self) -> str:
        return orjson.dumps(asdict(self)).decode()


@dataclass(frozen=True, slots=True)
class Slot:
    """One way to the data key: which protector, what it stored, and the data key under it.

    `hw`: the wrapping key can't leave a device; `bound`: without the device or service
    nothing opens the slot.
    """

    id: str
    type: str
    hw: bool
    bound: bool
    params: Params
    iv: str
    ct: str

    def __post_init__(self) -> None:
        for text in (self.id, self.type):
            if not isinstance(text, str) or not 1 <= len(text) <= 64 or not text.isprintable():
                raise damaged("slot has no id or no type")
        if type(self.hw) is not bool or type(self.bound) is not bool:
            raise damaged("slot flag is not true or false")
        if not isinstance(self.params, dict) or len(self.params) > MAX_PARAMS:
            raise damaged("slot parameters are not an object")
        if any(type(value) not in (str, int) for value in self.params.values()):
            raise damaged("slot parameter is neither text nor a whole number")
        if not is_hex(self.iv, _NONCE_HEX) or not is_hex(self.ct, _SEALED_HEX):
            raise damaged("slot iv or ct has the wrong length")

    def aad(self, pubkey: str) -> bytes:
        fields = {"id": self.id, "type": self.type, "hw": self.hw, "bound": self.bound}
        return b"nse:v2:slot\0" + pubkey.encode() + _canonical(fields | {"params": self.params})


@dataclass(frozen=True, slots=True)
class BlobV2:
    """The format of this project. `gen` counts the data keys that this key has had."""

    version: int
    ciphertext: str
    iv: str
    pubkey: str
    npub: str
    created_at: int
    hardware_backed: bool
    gen: int
    slots: tuple[Slot, ...]
    mac: str

    def __post_init__(self) -> None:
        _check_common(self)
        if type(self.gen) is not int or not 1 <= self.gen < _MAX_GEN:
            raise damaged("gen is not a counter")
        if not 1 <= len(self.slots) <= MAX_SLOTS:
            raise damaged("no slots, or too many")
        if len({slot.id for slot in self.slots}) != len(self.slots):
            raise damaged("two slots have one id")
        if self.hardware_backed != all(slot.hw for slot in self.slots):
            raise damaged("hardware_backed is not what the slots say")
        if not is_hex(self.mac, _MAC_HEX):
            raise damaged("mac has the wrong length")

    @property
    def aad(self) -> bytes:
        fields = ("version", "pubkey", "created_at", "hardware_backed", "gen")
        return b"nse:v2:key\0" + _canonical({name: getattr(self, name) for name in fields})

    @property
    def mac_aad(self) -> bytes:
        return b"nse:v2:file\0" + _canonical(asdict(replace(self, mac="0" * _MAC_HEX)))

    def to_json(self) -> str:
        return _canonical(asdict(self)).decode()


Blob = BlobV1 | BlobV2


def parse_blob(text: str) -> Blob:
    """Read a stored key; raises NSEError. What is in it is authenticated when it is opened."""
    if len(text) > MAX_BLOB_BYTES:
        raise damaged("too large")
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise damaged("not JSON") from None
    if not isinstance(value, dict):
        raise damaged("not an object")
    version = value.get("version")
    if type(version) is not int:
        raise damaged("no version")
    match version:
        case 1:
            return BlobV1(**_fields(value, BlobV1))
        case 2:
            return _parse_v2(value, text)
        case _:
            raise damaged(f"version {version} is not known here")


def damaged(why: str) -> NSEError:
    """Return the error for a stored key that can't be read."""
    return NSEError(f"stored key is damaged or foreign: {why}", NSEErrorCode.STORAGE_ERROR)


def _parse_v2(value: dict[str, Any], text: str) -> BlobV2:
    fields = _fields(value, BlobV2)
    slots = fields["slots"]
    if not isinstance(slots, list) or not all(isinstance(slot, dict) for slot in slots):
        raise damaged("slots are not a list of objects")
    fields["slots"] = tuple(Slot(**_fields(slot, Slot)) for slot in slots)
    blob = BlobV2(**fields)
    if blob.to_json() != text:  # a second spelling of the same would escape the mac
        raise damaged("not in canonical form")
    return blob


def _fields(value: dict[str, Any], kind: type[BlobV1 | BlobV2 | Slot]) -> dict[str, Any]:
    if value.keys() != set(kind.__slots__):
        raise damaged("a field is missing or unknown")
    return dict(value)


def _check_common(blob: Blob) -> None:
    if not is_hex(blob.pubkey, 64):
        raise damaged("pubkey is not 64 lower-case hex characters")
    if not is_hex(blob.iv, _NONCE_HEX) or not is_hex(blob.ciphertext, _SEALED_HEX):
        raise damaged("iv or ciphertext has the wrong length")
    if type(blob.created_at) is not int or not 0 <= blob.created_at <= MAX_TIMESTAMP:
        raise damaged("created_at is not a Unix time in seconds")
    if type(blob.hardware_backed) is not bool:
        raise damaged("hardware_backed is not true or false")
    if blob.npub != encode_npub(blob.pubkey):
        raise damaged("npub is not the one of pubkey")


def _canonical(value: object) -> bytes:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:  # a lone surrogate, an integer beyond 64 bits
        raise damaged("text or number that JSON can't carry") from None
