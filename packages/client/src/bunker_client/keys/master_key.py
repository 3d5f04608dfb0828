"""Where the master key comes from that opens what this package keeps, and where that lies."""

import os
from pathlib import Path
from typing import Final, Protocol

from bunker_client.errors import SessionError
from bunker_client.keys.sealed import KEY_BYTES
from bunker_core.keys import fill_random_secret
from bunker_core.local.files import write_private
from bunker_core.local.home import data_home

DIRECTORY_VARIABLE: Final = "BUNKER_SESSIONS"
MASTER_KEY_FILE: Final = "master.key"

_SERVICE: Final = "nostr-bunker"
_ACCOUNT: Final = "client sessions"


class MasterKeySource(Protocol):
    """Where the 32 bytes come from that open the sessions. The caller wipes what it gets."""

    def read(self) -> bytearray | None: ...
    def create(self) -> bytearray: ...


class FileMasterKey:
    """A master key in a file, mode 0600."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> bytearray | None:
        content = bytearray(KEY_BYTES + 1)
        try:
            with self._path.open("rb", buffering=0) as file:
                size = file.readinto(content)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SessionError(f"master key {self._path}: {error.strerror}") from None
        if size != KEY_BYTES:
            raise SessionError(f"master key {self._path}: expected {KEY_BYTES} bytes")
        return content[:KEY_BYTES]

    def create(self) -> bytearray:
        key = bytearray(KEY_BYTES)
        fill_random_secret(key)
        try:
            write_private(self._path, key, replace=False)  # no master key is ever overwritten
        except OSError as error:
            raise SessionError(f"{self._path}: {error.strerror}") from None
        return key


class KeyringMasterKey:
    """A master key in the operating system's keyring (the extra `keyring`).

    The keyring hands out text, which Python can't wipe: a copy of it stays in this process.
    """

    def read(self) -> bytearray | None:
        import keyring
        from keyring.errors import KeyringError

        try:
            text = keyring.get_password(_SERVICE, _ACCOUNT)
        except KeyringError as error:
            raise SessionError(f"the keyring can't be read: {error}") from None
        if text is None:
            return None
        try:
            key = bytearray.fromhex(text)
        except ValueError:
            key = bytearray()
        if len(key) != KEY_BYTES:
            raise SessionError("the keyring has something else in the place of the master key")
        return key

    def create(self) -> bytearray:
        import keyring
        from keyring.errors import KeyringError

        key = bytearray(KEY_BYTES)
        fill_random_secret(key)
        try:
            keyring.set_password(_SERVICE, _ACCOUNT, key.hex())
        except KeyringError as error:
            raise SessionError(f"the keyring can't be written: {error}") from None
        return key


def open_master_key(directory: Path, source: MasterKeySource) -> bytearray:
    """Return the master key, made with its directory if there is none; raises SessionError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SessionError(f"{directory}: {error.strerror}") from None
    if (found := source.read()) is not None:
        return found
    try:
        return source.create()
    except SessionError:
        if (found := source.read()) is None:
            raise
        return found  # another process was first


def default_directory() -> Path:
    """Return $BUNKER_SESSIONS, else the place that the XDG base directory specification names."""
    if named := os.environ.get(DIRECTORY_VARIABLE):
        return Path(named)
    return data_home() / "nostr-bunker" / "sessions"
