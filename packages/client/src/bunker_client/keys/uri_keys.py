"""The client key of a bunker:// URI, kept so that the second run is the same client as the first.

A URI pairs one client. A script that made a fresh key at each start would be refused by the second,
and leave an app behind at the signer by each. A file a URI, mode 0600: its name is a MAC of the URI
under the master key and its content the sealed key, so neither tells what the URI was.
"""

import hmac
import logging
from pathlib import Path
from typing import Final

import orjson

from bunker_client.errors import SessionError
from bunker_client.keys.master_key import (
    MASTER_KEY_FILE,
    FileMasterKey,
    MasterKeySource,
    default_directory,
    open_master_key,
)
from bunker_client.keys.sealed import seal, unseal
from bunker_core.keys import SecretKey, wipe
from bunker_core.local.files import write_private
from bunker_core.nips.bunker_uri import BunkerURI

MAX_BYTES: Final = 4096
_FOLDER: Final = "uris"

log = logging.getLogger(__name__)


class URIKeys:
    """The client keys of the URIs that were used here. Every failure is a SessionError."""

    def __init__(
        self, directory: Path | None = None, master_key: MasterKeySource | None = None
    ) -> None:
        """Use `directory` (default: where sessions are kept), made when a key is."""
        self.directory = directory or default_directory()
        self._master_key = master_key or FileMasterKey(self.directory / MASTER_KEY_FILE)

    def load(self, uri: BunkerURI) -> SecretKey | None:
        """Return the key that `uri` was used with; None if it was not used here."""
        master_key = self._master_key.read()
        if master_key is None:
            return None
        try:
            return _read(self._path(uri, master_key), master_key)
        finally:
            wipe(master_key)

    def save(self, uri: BunkerURI, key: SecretKey) -> None:
        """Keep `key` as the one of `uri`."""
        master_key = open_master_key(self.directory, self._master_key)
        try:
            path = self._path(uri, master_key)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_private(path, orjson.dumps(seal(key, master_key)), replace=True)
        except OSError as error:
            raise SessionError(f"{self.directory}: {error.strerror}") from None
        finally:
            wipe(master_key)

    def forget(self, uri: BunkerURI) -> None:
        """Delete the key of `uri`; one that is not there is deleted already."""
        master_key = self._master_key.read()
        if master_key is None:
            return
        try:
            self._path(uri, master_key).unlink(missing_ok=True)
        except OSError as error:
            raise SessionError(f"{self.directory}: {error.strerror}") from None
        finally:
            wipe(master_key)

    def _path(self, uri: BunkerURI, master_key: bytearray) -> Path:
        # Not its relays: the same URI may be written with fewer of them.
        told = f"client key of {uri.remote_signer_pubkey} {uri.secret or ''}".encode()
        return self.directory / _FOLDER / f"{hmac.digest(master_key, told, 'sha256').hex()}.key"


class KeptKey:
    """The client key of one URI, where such keys are kept.

    A home that can't be written costs the second run, and not this one.
    """

    def __init__(self, keys: URIKeys, uri: BunkerURI) -> None:
        self._keys = keys
        self._uri = uri

    def load(self) -> SecretKey | None:
        try:
            return self._keys.load(self._uri)
        except SessionError as error:
            log.warning("the client key of the URI can't be read, a fresh one is used: %s", error)
            return None

    def save(self, key: SecretKey) -> None:
        try:
            self._keys.save(self._uri, key)
        except SessionError as error:
            log.warning("the client key can't be kept, the URI works this once: %s", error)

    def forget(self) -> None:
        try:
            self._keys.forget(self._uri)
        except SessionError as error:
            log.warning("the client key of the URI can't be deleted: %s", error)


def _read(path: Path, master_key: bytearray) -> SecretKey | None:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SessionError(f"{path}: {error.strerror}") from None
    try:
        return unseal(orjson.loads(data) if len(data) <= MAX_BYTES else None, master_key)
    except orjson.JSONDecodeError:
        raise SessionError(f"{path} is damaged: delete it, and pair anew") from None
