"""Where an installation made by `bunker up` keeps what, and what can be read there of it."""

import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bunker_core.errors import BunkerError
from bunker_core.local import locks
from bunker_core.local.files import private_folder
from bunker_core.local.home import data_home, user_home
from bunker_core.nips.nip19 import encode_npub
from bunker_signer.key.keystore import KEYS_DIRECTORY, MASTER_KEY_FILE, TRANSPORT_NAME, key_storage
from bunker_signer.nse import NSE
from bunker_signer.nse.model import DEFAULT_NAME

LOCK: Final = "up.lock"
DATABASE: Final = "signer.sqlite3"  # in the signer's directory


def default_data() -> Path:
    """Return where the data lies when no directory is named (XDG base directory)."""
    return data_home() / "nostr-bunker"


def shown(path: Path) -> str:
    """Return `path` as people write it, with ~ for their home."""
    with suppress(BunkerError):
        if path.is_relative_to(home := user_home()):
            return f"~/{path.relative_to(home)}"
    return str(path)


@dataclass(frozen=True, slots=True)
class Installation:
    """The directories below `data`: one for the relay, one for the signer, one for Caddy."""

    data: Path

    @property
    def relay(self) -> Path:
        return self.data / "relay"

    @property
    def signer(self) -> Path:
        return self.data / "signer"

    @property
    def caddy(self) -> Path:
        return self.data / "caddy"

    @property
    def keys(self) -> Path:
        return self.signer / KEYS_DIRECTORY

    @property
    def master_key(self) -> Path:
        """The master key, unless the owner keeps it elsewhere."""
        return self.signer / MASTER_KEY_FILE

    @property
    def has_keys(self) -> bool:
        """Whether there is a user's key: of a first run, or of `bunker key`. Raises BunkerError."""
        return self._has(DEFAULT_NAME)

    @property
    def is_complete(self) -> bool:
        """Whether there is the key that carries the traffic, too."""
        return self.has_keys and self._has(TRANSPORT_NAME)

    def user_pubkey(self) -> str:
        """Return the pubkey of the user's key; it is not opened. Raises NSEError."""
        return self._pubkey(DEFAULT_NAME)

    def remote_signer_pubkey(self) -> str:
        """Return the pubkey that carries the traffic; its key is not opened. Raises NSEError."""
        return self._pubkey(TRANSPORT_NAME)

    def npub(self) -> str:
        """Return the user's pubkey as people write it. Raises NSEError."""
        return encode_npub(self.user_pubkey())

    def _has(self, name: str) -> bool:
        with NSE(storage=key_storage(self.signer), name=name) as key:
            return key.exists()

    def _pubkey(self, name: str) -> str:
        with NSE(storage=key_storage(self.signer), name=name) as key:
            return key.get_public_key()


def hold(installation: Installation) -> None:
    """Make the data folder, close it to others, and hold it until this process ends.

    Also through an exec. Raises BunkerError when another `bunker up` holds it, OSError.
    """
    private_folder(installation.data)
    path = installation.data / LOCK
    try:
        handle = locks.hold(path)
    except BlockingIOError:
        process = path.read_bytes()[:32].decode(errors="replace").strip()
        raise BunkerError(
            f"nostr-bunker is running already on {installation.data} (process {process}): "
            "`bunker status` shows how it stands, `bunker signer pair` pairs another app"
        ) from None
    os.truncate(handle, 0)
    os.write(handle, f"{os.getpid()}\n".encode())
    os.set_inheritable(handle, True)


def open_to_others(path: Path) -> bool:
    """Tell whether other users of this machine may read `path`."""
    return bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
