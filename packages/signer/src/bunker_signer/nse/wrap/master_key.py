"""Slot type `raw`: a 32-byte master key that the machine's operator keeps in a file.

The wrapping key of a slot is HKDF of the master key and the slot's salt; only files of version 1
(the reference package's) are sealed under the master key itself.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bunker_core.keys import Buffer, wipe
from bunker_core.local.files import write_private
from bunker_signer.nse.blob import Params
from bunker_signer.nse.errors import NSEError, NSEErrorCode
from bunker_signer.nse.memory import Page, fill_random
from bunker_signer.nse.wrap import Ask
from bunker_signer.nse.wrap.params import expect, hex_bytes, no_more_options, option

KEY_BYTES: Final = 32
SALT_BYTES: Final = 32
CREDENTIAL: Final = "bunker-master-key"

_INFO: Final = b"nse:v2:raw"
_HEX: Final = frozenset(b"0123456789abcdefABCDEF")
_MAX_FILE: Final = 2 * KEY_BYTES + 2  # hex and a line end


class MasterKey:
    """The master key, in a page of its own until `close`."""

    type: Final = "raw"
    hardware: Final = False
    device_bound: Final = False

    def __init__(self, master_key: str | Buffer) -> None:
        """Copy 64 hex characters or a 32-byte buffer; the caller wipes their own copy."""
        self._page = Page()
        self._key = self._page.view[:KEY_BYTES]
        try:
            if isinstance(master_key, str):
                _read_hex(master_key.encode("ascii", "replace"), self._key)
            elif len(master_key) == KEY_BYTES:
                self._key[:] = memoryview(master_key).cast("B")
            else:
                raise _unusable("is not 32 bytes")
        except NSEError:
            self.close()
            raise

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read a file of 32 raw bytes, or of 64 hex characters with or without a line end."""
        page = Page()
        buffer = page.view[: _MAX_FILE + 1]
        try:
            with Path(path).open("rb", buffering=0) as file:
                length = file.readinto(buffer) or 0
            if length == KEY_BYTES:
                return cls(buffer[:KEY_BYTES])
            while length and buffer[length - 1] in b"\r\n":
                length -= 1
            _read_hex(buffer[:length], page.view[128 : 128 + KEY_BYTES])
            return cls(page.view[128 : 128 + KEY_BYTES])
        except OSError as error:
            raise _unusable(f"file can't be read: {path}: {error.strerror}") from None
        finally:
            page.close()

    @classmethod
    def from_credential(cls, name: str = CREDENTIAL) -> Self:
        """Read the systemd credential `name` (LoadCredential=, LoadCredentialEncrypted=)."""
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        if not directory:
            raise _unusable("can't come from systemd: $CREDENTIALS_DIRECTORY is not set")
        return cls.from_file(Path(directory, Path(name).name))

    def create(self, pubkey: str, key: memoryview) -> Params:  # noqa: ARG002 -- the salt suffices
        salt = os.urandom(SALT_BYTES)
        self._derive(salt, key)
        return {"salt": salt.hex()}

    def recover(self, pubkey: str, params: Params, key: memoryview) -> None:  # noqa: ARG002
        expect(params, "salt")
        self._derive(hex_bytes(params, "salt", size=SALT_BYTES), key)

    def copy_into(self, out: memoryview) -> None:
        """Write the master key itself into `out`: the data key of a version 1 file."""
        self._check_open()
        out[:] = self._key

    def close(self) -> None:
        """Wipe the master key."""
        self._page.close()

    def _derive(self, salt: bytes, key: memoryview) -> None:
        self._check_open()
        HKDF(SHA256(), KEY_BYTES, salt=salt, info=_INFO).derive_into(self._key, key)

    def _check_open(self) -> None:
        if not self._page.alive:
            raise NSEError("master key was wiped", NSEErrorCode.AUTH_FAILED)


def create_master_key_file(path: Path) -> None:
    """Write a fresh random master key to `path`, readable by its owner alone; raises NSEError."""
    page = Page()
    key = page.view[:KEY_BYTES]
    try:
        fill_random(key)
        copy = bytearray(key)  # the kernel can't read from a memfd_secret page
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(path, copy, replace=False)
        finally:
            wipe(copy)
    except OSError as error:
        raise _unusable(f"file can't be made: {path}: {error.strerror}") from None
    finally:
        page.close()


def from_options(options: Mapping[str, str], ask: Ask) -> MasterKey:
    """Make the protector from `file=PATH` or `credential=NAME`, else by asking for the hex."""
    no_more_options(options, "file", "credential")
    if "file" in options:
        return MasterKey.from_file(option(options, "file"))
    if "credential" in options:
        return MasterKey.from_credential(option(options, "credential"))
    text = ask("Master key (64 hex characters)")
    key = bytearray(KEY_BYTES)
    try:
        _read_hex(text, memoryview(key))
        return MasterKey(key)
    finally:
        wipe(text)
        wipe(key)


def _read_hex(text: Buffer | bytes, out: memoryview) -> None:
    """Decode two digits at a time: the key as a whole is never a `bytes`."""
    if len(text) != 2 * KEY_BYTES or not _HEX.issuperset(text):
        raise _unusable("is not 64 hex characters or 32 bytes")
    for index in range(KEY_BYTES):
        out[index] = _digit(text[2 * index]) << 4 | _digit(text[2 * index + 1])


def _digit(code: int) -> int:
    return code - 48 if code < 58 else (code | 32) - 87


def _unusable(why: str) -> NSEError:
    return NSEError(f"master key {why}", NSEErrorCode.HARDWARE_UNAVAILABLE)
