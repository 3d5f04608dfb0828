"""The signer's two sealed keys in its data directory, and the master key that opens them."""

import os
from binascii import unhexlify
from pathlib import Path
from typing import Final

from bunker_core import keys
from bunker_core.errors import BunkerError
from bunker_signer.handler import Keys
from bunker_signer.nse import NSE, FileStorage

MASTER_KEY_FILE: Final = "master.key"  # in the data directory, when no other is named
KEYS_DIRECTORY: Final = "keys"
# The user key has the default name, so that a key of the package nostr-secure-enclave is found.
TRANSPORT_NAME: Final = "remote-signer"

_KEY_BYTES: Final = 32


class MasterKeyError(BunkerError):
    """The master key can't be read."""


def read_master_key(path: Path) -> bytearray:
    """Return the 32 bytes in `path`, raw or as 64 hex characters; the caller wipes them.

    Raises MasterKeyError that says what is wrong, never what is in the file.
    """
    content = bytearray(2 * _KEY_BYTES + 3)
    try:
        with path.open("rb", buffering=0) as file:
            size = file.readinto(content)
    except OSError as error:
        raise MasterKeyError(f"master key {path}: {error.strerror}") from None
    if size == _KEY_BYTES:
        key = content[:_KEY_BYTES]
        keys.wipe(content)
        return key
    while size and content[size - 1] in b"\r\n ":
        size -= 1
    try:
        key = bytearray(unhexlify(content[:size]))
    except ValueError:
        key = bytearray()
    keys.wipe(content)
    if len(key) != _KEY_BYTES:
        raise MasterKeyError(f"master key {path}: expected 32 bytes, or 64 hex characters")
    return key


def create_master_key(path: Path) -> None:
    """Write a fresh random master key to `path`, readable by its owner alone.

    Raises MasterKeyError when the file is there already or can't be written.
    """
    key = bytearray(os.urandom(_KEY_BYTES))
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            os.write(handle, key)
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise MasterKeyError(f"master key {path}: {error.strerror}") from None
    finally:
        keys.wipe(key)


def open_keys(data: Path, master_key: bytearray) -> Keys:
    """Open the sealed keys in `data`, making them when there are none yet; wipes `master_key`.

    Each key signs once, so that a wrong master key is found now and not by the first client.
    Raises NSEError.
    """
    storage = FileStorage(str(data / KEYS_DIRECTORY))
    try:
        pair = Keys(
            transport=NSE(master_key=master_key, storage=storage, name=TRANSPORT_NAME),
            user=NSE(master_key=master_key, storage=storage),
        )
    finally:
        keys.wipe(master_key)
    # An existing user key is tried before a transport key is made: a wrong master key must not
    # leave a key behind that only it can open.
    for key in (pair.user, pair.transport):
        if key.exists():
            _try(key)
    for key in (pair.user, pair.transport):
        if not key.exists():
            key.generate()
    return pair


def _try(key: NSE) -> None:
    key.conversation_key(key.get_public_key())


def load_keys(data: Path, given: Path | None) -> tuple[Keys, str]:
    """Open the keys in `data` with the master key file `given`, else the one in `data`.

    On the very first run both are made. Returns the keys and how they are protected, in words.
    Raises MasterKeyError and NSEError.
    """
    path = given or data / MASTER_KEY_FILE
    first_run = not any((data / KEYS_DIRECTORY).glob("*"))
    if first_run and not path.exists():
        create_master_key(path)
    words = f"master key {path}"
    if given is None:
        words += " (beside the key it opens; --master-key-file can name one on another disk)"
    return open_keys(data, read_master_key(path)), words


def transport_pubkey(data: Path) -> str:
    """Return the remote-signer pubkey of the keys in `data`, without opening any.

    Raises NSEError when there is none.
    """
    storage = FileStorage(str(data / KEYS_DIRECTORY))
    # The pubkey lies in the clear in the sealed key's file: any master key can read that much.
    with NSE(master_key=bytearray(_KEY_BYTES), storage=storage, name=TRANSPORT_NAME) as key:
        return key.get_public_key()
