"""The first run of `bunker up`: the user's key is made or taken in, and a recovery copy written."""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bunker.installation import Installation
from bunker_core.errors import BunkerError
from bunker_core.keys import wipe
from bunker_core.local.files import private_folder, write_private
from bunker_core.nips.key_text import parse_key_text
from bunker_core.nips.nip19 import encode_npub
from bunker_signer.key.keystore import (
    TRANSPORT_NAME,
    create_master_key,
    key_storage,
    opens_by_master_key,
)
from bunker_signer.nse import NSE
from bunker_signer.nse.model import DEFAULT_NAME
from bunker_signer.nse.wrap.master_key import MasterKey

# Without 0, 1, l and o, which are mistaken for each other on paper.
_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
_GROUPS: Final = 5
_GROUP_SIZE: Final = 4  # 5 groups of 4 characters of 32: 100 bits


@dataclass(frozen=True, slots=True)
class ImportedKey:
    """A key that the user has already: an nsec, or an ncryptsec with its passphrase."""

    text: str
    passphrase: str = ""

    def __repr__(self) -> str:
        return "ImportedKey()"

    def npub(self) -> str:
        """Return whose key it is; raises BunkerError when it is none."""
        with NSE(master_key=bytearray(os.urandom(32))) as key:
            return encode_npub(_store(key, self))


class FirstRunFailed(BunkerError):
    """The key could not be made or taken in; nothing was kept."""


def make_keys(
    installation: Installation, master_key_file: Path | None, imported: ImportedKey | None
) -> str:
    """Make both keys, sealed under the master key, which is made too; return the npub.

    Raises BunkerError.
    """
    path = master_key_file or installation.master_key
    for directory in (installation.data, installation.signer):
        private_folder(directory)
    if not path.exists():
        create_master_key(path)
    master = MasterKey.from_file(path)
    try:
        with NSE(storage=key_storage(installation.signer), protector=master) as user:
            pubkey = _store(user, imported)
    finally:
        master.close()
    make_missing(installation, master_key_file)
    return encode_npub(pubkey)


def make_missing(installation: Installation, master_key_file: Path | None) -> None:
    """Make the key that carries the traffic, if `bunker key` made or took in the user's alone.

    The user's key stays as it is guarded: it may need its owner to unlock it. Raises BunkerError.
    """
    storage = key_storage(installation.signer)
    with NSE(storage=storage, name=TRANSPORT_NAME) as transport:
        if transport.exists():
            return
    path = master_key_file or installation.master_key
    if not path.exists():
        _check_is_not_lost(installation, path)
        create_master_key(path)
    master = MasterKey.from_file(path)
    try:
        with NSE(storage=storage, name=TRANSPORT_NAME, protector=master) as transport:
            transport.generate()
    finally:
        master.close()


def _check_is_not_lost(installation: Installation, path: Path) -> None:
    """Raise FirstRunFailed when keys are there that only a missing master key opens."""
    with NSE(storage=key_storage(installation.signer), name=DEFAULT_NAME) as key:
        if key.exists() and opens_by_master_key(key):
            raise FirstRunFailed(
                f"the master key {path} is missing, and the key in {installation.keys} opens "
                "by it: put it there, or name it by --master-key-file"
            )


def _store(user: NSE, imported: ImportedKey | None) -> str:
    if imported is None:
        return user.generate().pubkey
    found = parse_key_text(imported.text.encode())
    if found.secret is None:
        return user.import_ncryptsec(found.ncryptsec, imported.passphrase).pubkey
    return user.import_key(found.secret).pubkey


def write_recovery(
    installation: Installation, master_key_file: Path | None, passphrase: str, path: Path
) -> None:
    """Write the user's key to `path`, encrypted under `passphrase` (NIP-49).

    Raises BunkerError; an existing file is left as it is.
    """
    master = MasterKey.from_file(master_key_file or installation.master_key)
    secret = bytearray(passphrase.encode())
    try:
        with NSE(storage=key_storage(installation.signer), protector=master) as user:
            text = _sheet(encode_npub(user.get_public_key()), user.export_ncryptsec(secret))
    finally:
        master.close()
        wipe(secret)
    try:
        write_private(path, text.encode(), replace=False)
    except OSError as error:
        raise FirstRunFailed(f"recovery copy {path}: {error.strerror}") from None


def new_passphrase(choose: Callable[[str], str] = secrets.choice) -> str:
    """Return a passphrase to write down."""
    groups = ("".join(choose(_ALPHABET) for _ in range(_GROUP_SIZE)) for _ in range(_GROUPS))
    return "-".join(groups)


def _sheet(npub: str, ncryptsec: str) -> str:
    return (
        f"Recovery copy of the Nostr key {npub}\n\n"
        f"{ncryptsec}\n\n"
        "It is encrypted under your recovery passphrase (NIP-49). Keep this file away from the\n"
        "machine that it came from, and the passphrase away from this file. Whoever has both has\n"
        "the key. To use it: `bunker up` in an empty place, and paste it at the first question.\n"
    )
