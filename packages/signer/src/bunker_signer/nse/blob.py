"""The sealed key as it is stored: version 1 is the reference package's."""

from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from bunker_core.event import MAX_TIMESTAMP, is_hex
from bunker_core.nip19 import encode_npub
from bunker_signer.nse.errors import NSEError, NSEErrorCode

_NONCE_HEX: Final = 24
_SEALED_HEX: Final = 96


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
        if self.version != 1:
            raise _damaged("version is not 1")
        if not is_hex(self.pubkey, 64):
            raise _damaged("pubkey is not 64 lower-case hex characters")
        if not is_hex(self.iv, _NONCE_HEX) or not is_hex(self.ciphertext, _SEALED_HEX):
            raise _damaged("iv or ciphertext has the wrong length")
        if type(self.created_at) is not int or not 0 <= self.created_at <= MAX_TIMESTAMP:
            raise _damaged("created_at is not a Unix time in seconds")
        if self.hardware_backed is not False:
            raise _damaged("version 1 has no hardware-backed keys")
        if self.npub != encode_npub(self.pubkey):
            raise _damaged("npub is not the one of pubkey")

    @property
    def nonce(self) -> bytes:
        return bytes.fromhex(self.iv)

    @property
    def sealed(self) -> bytes:
        return bytes.fromhex(self.ciphertext)

    @property
    def aad(self) -> None:
        return None

    def to_json(self) -> str:
        return orjson.dumps(asdict(self)).decode()


def parse_blob(text: str) -> BlobV1:
    """Read a stored key; raises NSEError. What is in it is not yet authenticated."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _damaged("not JSON") from None
    if not isinstance(value, dict):
        raise _damaged("not an object")
    version = value.get("version")
    if type(version) is not int or version != 1:
        raise _damaged("unknown version")
    return _fields(value)


def _fields(value: dict[str, Any]) -> BlobV1:
    if value.keys() != set(BlobV1.__slots__):
        raise _damaged("a field is missing or unknown")
    return BlobV1(**value)


def _damaged(why: str) -> NSEError:
    return NSEError(f"stored key is damaged or foreign: {why}", NSEErrorCode.STORAGE_ERROR)
