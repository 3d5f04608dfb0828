"""The sealed keys in the data directory, and the master key that opens them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bunker_core import keys
from bunker_core.errors import BunkerError
from bunker_core.local.files import write_private
from bunker_signer.nse import NSE, FileStorage, NSEError
from bunker_signer.nse.model import BLOB_KEY, DEFAULT_NAME
from bunker_signer.nse.storage import SwapStorage
from bunker_signer.nse.wrap.master_key import CREDENTIAL, KEY_BYTES, MasterKey
from bunker_signer.nse.wrap.passphrase import Passphrase

MASTER_KEY_FILE: Final = "master.key"  # in the data directory, when no other is named
KEYS_DIRECTORY: Final = "keys"
# The user key has the default name, so that a key of the package nostr-secure-enclave is found.
# Beside each lies the key that carries its traffic.
TRANSPORT_NAME: Final = "remote-signer"

_RAW: Final = MasterKey.type


class MasterKeyError(BunkerError):
    """The master key can't be read or written."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The two sealed keys of one name."""

    name: str
    transport: NSE
    user: NSE


class KeyStore:
    """Opens the keys in `data` with the master key file `given`, else the one at hand.

    That is the systemd credential `bunker-master-key`, or `master.key` in the data directory,
    which is made on the very first run. The master key itself is wiped after use: what stays is
    the data key of each key, until it is locked.
    """

    def __init__(self, data: Path, given: Path | None) -> None:
        self.data: Final = data
        self._path, self.described = _master_key_path(data, given)

    def names(self) -> tuple[str, ...]:
        """Return the names of the user keys that are there."""
        return user_key_names(self.data)

    def open(self, names: Sequence[str] = ()) -> list[KeyPair]:
        """Open the keys called `names` (default: all), making those that are not there.

        A key that the master key does not open, but for instance a passphrase, is returned
        locked. Each other key is tried, so that a wrong master key is found now and not by the
        first client. Raises MasterKeyError and NSEError; then nothing was made.
        """
        directory = self.data / KEYS_DIRECTORY
        if not any(directory.glob("*")) and not self._path.exists():
            create_master_key(self._path)
        wanted = tuple(dict.fromkeys(names)) or self.names() or (DEFAULT_NAME,)
        storage = key_storage(self.data)
        master = self._read()
        opened: list[KeyPair] = []
        try:
            for name in wanted:
                transport = NSE(storage=storage, name=transport_name(name), protector=master)
                opened.append(KeyPair(name, transport, NSE(storage=storage, name=name)))
            # What exists is tried before anything is made: a wrong master key must not leave a
            # key behind that only it can open.
            for pair in opened:
                if pair.user.exists() and opens_by_master_key(pair.user):
                    pair.user.unlock(master)
                if pair.transport.exists():
                    _keep_data_key(pair.transport, master)
            for pair in opened:
                if not pair.transport.exists():
                    pair.transport.generate()
                    _keep_data_key(pair.transport, master)
                if not pair.user.exists():
                    with NSE(storage=storage, name=pair.name, protector=master) as maker:
                        maker.generate()
                    pair.user.unlock(master)
        except BaseException:
            for pair in opened:
                pair.transport.close()
                pair.user.close()
            raise
        finally:
            master.close()
        return opened

    def unlock(self, user: NSE, passphrase: bytearray | None) -> None:
        """Open a locked key by its passphrase, else by the master key; raises NSEError.

        `passphrase` is wiped. Takes as long as a passphrase's derivation does.
        """
        protector: MasterKey | Passphrase
        if passphrase is None:
            protector = self._read()
        else:
            try:
                protector = Passphrase(passphrase)
            finally:
                keys.wipe(passphrase)
        try:
            user.unlock(protector)
        finally:
            protector.close()

    def _read(self) -> MasterKey:
        try:
            return MasterKey.from_file(self._path)
        except NSEError as error:
            raise MasterKeyError(f"{error} ({self._path})") from None


def key_storage(data: Path) -> SwapStorage:
    """Return where the sealed keys of a signer's data directory lie; raises NSEError."""
    return FileStorage(data / KEYS_DIRECTORY)


def user_key_names(data: Path) -> tuple[str, ...]:
    """Return the names of the user keys in `data`, the default one first."""
    directory = data / KEYS_DIRECTORY
    if not directory.is_dir():
        return ()
    storage = key_storage(data)
    held = storage.keys()
    stored = [key for key in held if key.split(":")[:2] == ["nse", "blob"]]
    names = [
        DEFAULT_NAME if key == BLOB_KEY else key.removeprefix(f"{BLOB_KEY}:") for key in stored
    ]
    users = [name for name in names if not _carries_traffic(name)]
    return tuple(sorted(users, key=lambda name: (name != DEFAULT_NAME, name)))


def transport_name(name: str) -> str:
    """Return the name of the key that carries the traffic of the user key `name`."""
    return TRANSPORT_NAME if name == DEFAULT_NAME else f"{name}.{TRANSPORT_NAME}"


def remote_signer_pubkey(data: Path, name: str) -> str:
    """Return the remote-signer pubkey of a key in `data`, without opening any.

    Raises NSEError when there is none.
    """
    storage = key_storage(data)
    # The pubkey lies in the clear in the sealed key's file.
    with NSE(storage=storage, name=transport_name(name)) as key:
        return key.get_public_key()


def opens_by_master_key(key: NSE) -> bool:
    """Tell whether a key can be opened without a person: version 1 has no slots at all."""
    slots = key.slots()
    return not slots or any(slot.type == _RAW for slot in slots)


def create_master_key(path: Path) -> None:
    """Write a fresh random master key to `path`, readable by its owner alone.

    Raises MasterKeyError when the file is there already or can't be written.
    """
    key = bytearray(os.urandom(KEY_BYTES))
    try:
        write_private(path, key, replace=False)
    except OSError as error:
        raise MasterKeyError(f"master key {path}: {error.strerror}") from None
    finally:
        keys.wipe(key)


def _master_key_path(data: Path, given: Path | None) -> tuple[Path, str]:
    if given is not None:
        return given, f"master key {given}"
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if directory and Path(directory, CREDENTIAL).is_file():
        return Path(directory, CREDENTIAL), f"master key from systemd's credential {CREDENTIAL}"
    path = data / MASTER_KEY_FILE
    beside = "beside the key it opens; --master-key-file can name one on another disk"
    return path, f"master key {path} ({beside})"


def _keep_data_key(key: NSE, master: MasterKey) -> None:
    """Unlock by the master key and let go of it: the data key opens this key and no other."""
    key.lock()
    key.unlock(master)


def _carries_traffic(name: str) -> bool:
    return name == TRANSPORT_NAME or name.endswith(f".{TRANSPORT_NAME}")
