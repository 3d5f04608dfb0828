"""Slot type `passphrase`: a person remembers it; Argon2id or scrypt makes guessing it expensive."""

import os
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from bunker_core.keys import Buffer, wipe
from bunker_signer.nse.blob import Params, damaged
from bunker_signer.nse.errors import NSEError, NSEErrorCode
from bunker_signer.nse.memory import Page, clear_registers, overwrite_freed, wipe_bytes, wipe_str
from bunker_signer.nse.wrap import Ask
from bunker_signer.nse.wrap.params import expect, hex_bytes, integer, no_more_options, option

SALT_BYTES: Final = 16
MAX_PASSPHRASE: Final = 1024  # bytes
_KEY_BYTES: Final = 32

# What a file may ask of this machine before the passphrase is even tried: 1 GiB and 16 passes.
_ARGON2_MEMORY_KIB: Final = (8, 1024 * 1024)
_ARGON2_PASSES: Final = (1, 16)
_ARGON2_LANES: Final = (1, 8)
_SCRYPT_LOG_N: Final = (1, 20)  # r=8: 1 GiB at 20
_SCRYPT_R: Final = 8


@dataclass(frozen=True, slots=True)
class Argon2:
    """Argon2id's costs. The default is RFC 9106's second choice with one lane: 64 MiB, 3 passes."""

    memory_kib: int = 64 * 1024
    passes: int = 3
    lanes: int = 1


@dataclass(frozen=True, slots=True)
class ScryptCost:
    """scrypt's cost, N = 2**log_n with r=8 and p=1: 16 takes 64 MiB."""

    log_n: int = 16


class Passphrase:
    """A passphrase, in a page of its own until `close`.

    Normalized to NFKC as NIP-49 does, so that every keyboard types the same one. New slots use
    `cost`; a slot is opened with the costs that it was made with, within bounds.
    """

    type: Final = "passphrase"
    hardware: Final = False
    device_bound: Final = False

    def __init__(self, passphrase: str | Buffer, cost: Argon2 | ScryptCost | None = None) -> None:
        """Copy the passphrase (UTF-8 when it is a buffer); the caller wipes their own copy."""
        self._cost = cost or Argon2()
        self._page = Page()
        try:
            self._length = normalize_into(passphrase, self._page.view)
        except NSEError:
            self.close()
            raise

    def create(self, pubkey: str, key: memoryview) -> Params:  # noqa: ARG002 -- the salt suffices
        salt = os.urandom(SALT_BYTES)
        match self._cost:
            case Argon2(memory_kib, passes, lanes):
                params: Params = {
                    "kdf": "argon2id",
                    "salt": salt.hex(),
                    "m": memory_kib,
                    "t": passes,
                    "p": lanes,
                }
            case ScryptCost(log_n):
                params = {"kdf": "scrypt", "salt": salt.hex(), "log_n": log_n}
        self._derive(params, key)
        return params

    def recover(self, pubkey: str, params: Params, key: memoryview) -> None:  # noqa: ARG002
        self._derive(params, key)

    def close(self) -> None:
        """Wipe the passphrase."""
        self._page.close()

    def _derive(self, params: Params, key: memoryview) -> None:
        if not self._page.alive:
            raise NSEError("passphrase was wiped", NSEErrorCode.AUTH_FAILED)
        secret = self._page.view[: self._length]
        _kdf(params).derive_into(secret, key)  # type: ignore[arg-type]  # any buffer will do
        clear_registers()
        if params["kdf"] == "argon2id":
            overwrite_freed()  # OpenSSL's Argon2 frees two copies without wiping them (seen in 4.0)


def normalize_into(passphrase: str | Buffer, out: memoryview) -> int:
    """Write the NFKC form of a passphrase into `out` as UTF-8 and return its length.

    The texts in between are overwritten: Python would leave them in its heap.
    """
    text = passphrase if isinstance(passphrase, str) else None
    encoded = b""
    normal: str | None = None
    try:
        if text is None:
            text = str(passphrase, "utf-8")  # type: ignore[arg-type]
        normal = unicodedata.normalize("NFKC", text)
        encoded = normal.encode()
    except UnicodeError:
        raise NSEError("passphrase is not valid Unicode", NSEErrorCode.AUTH_FAILED) from None
    finally:
        if normal is not None and normal is not passphrase:
            wipe_str(normal)
        if text is not None and text is not passphrase and text is not normal:
            wipe_str(text)
    try:
        if not 1 <= len(encoded) <= MAX_PASSPHRASE:
            raise NSEError(
                f"passphrase is empty or longer than {MAX_PASSPHRASE} bytes",
                NSEErrorCode.AUTH_FAILED,
            )
        out[: len(encoded)] = encoded
        return len(encoded)
    finally:
        wipe_bytes(encoded)
        clear_registers()


def from_options(options: Mapping[str, str], ask: Ask) -> Passphrase:
    """Make the protector by asking; `kdf=scrypt` or `kdf=argon2id` says how new slots are made."""
    no_more_options(options, "kdf")
    costs: dict[str, Argon2 | ScryptCost] = {"argon2id": Argon2(), "scrypt": ScryptCost()}
    kdf = option(options, "kdf", "argon2id")
    if kdf not in costs:
        raise NSEError("option 'kdf' is argon2id or scrypt", NSEErrorCode.HARDWARE_UNAVAILABLE)
    passphrase = ask("Passphrase")
    try:
        return Passphrase(passphrase, costs[kdf])
    finally:
        wipe(passphrase)


def _kdf(params: Params) -> Argon2id | Scrypt:
    match params.get("kdf"):
        case "argon2id":
            expect(params, "kdf", "salt", "m", "t", "p")
            lanes = integer(params, "p", *_ARGON2_LANES)
            memory = integer(params, "m", *_ARGON2_MEMORY_KIB)
            if memory < 8 * lanes:
                raise damaged("slot parameter 'm' is less than 8 for each lane")
            return Argon2id(
                salt=hex_bytes(params, "salt", size=SALT_BYTES),
                length=_KEY_BYTES,
                iterations=integer(params, "t", *_ARGON2_PASSES),
                lanes=lanes,
                memory_cost=memory,
            )
        case "scrypt":
            expect(params, "kdf", "salt", "log_n")
            return Scrypt(
                salt=hex_bytes(params, "salt", size=SALT_BYTES),
                length=_KEY_BYTES,
                n=2 ** integer(params, "log_n", *_SCRYPT_LOG_N),
                r=_SCRYPT_R,
                p=1,
            )
        case _:
            raise damaged("slot parameter 'kdf' is not known")
