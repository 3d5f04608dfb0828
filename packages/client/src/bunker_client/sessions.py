"""Where sessions are kept: one file each, mode 0600, sealed under one master key.

The client key is sealed in the NSE's format; all else (who signs, where) is encrypted by NIP-44
under that key to itself. So a session's file tells nothing without the master key, which lies in a
file of its own or in the operating system's keyring.
"""

import re
from pathlib import Path
from typing import Any, Final, Unpack

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
from bunker_client.keys.uri_keys import URIKeys
from bunker_client.remote_signer import RemoteSigner
from bunker_client.request.options import Options
from bunker_client.request.session import Session
from bunker_core.errors import BunkerError
from bunker_core.keys import SecretKey, wipe
from bunker_core.local.files import write_private
from bunker_core.nips import nip44
from bunker_core.nips.relay_url import parse_relay_url

DEFAULT_NAME: Final = "default"
MAX_BYTES: Final = 64 * 1024

_SUFFIX: Final = ".session"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Sessions:
    """The sessions in one directory. Every failure is a SessionError."""

    def __init__(
        self, directory: Path | None = None, master_key: MasterKeySource | None = None
    ) -> None:
        """Use `directory` (default: as `default_directory` says), made when a session is kept.

        Without `master_key` it lies in the directory beside the sessions: that keeps a copied
        session file useless, not a copied directory.
        """
        self.directory = directory or default_directory()
        self._master_key = master_key or FileMasterKey(self.directory / MASTER_KEY_FILE)

    @property
    def uri_keys(self) -> URIKeys:
        """The client keys of bunker:// URIs, kept in the same place."""
        return URIKeys(self.directory, self._master_key)

    def names(self) -> tuple[str, ...]:
        """Return the names of the sessions that are kept."""
        if not self.directory.is_dir():
            return ()
        found = (path.name.removesuffix(_SUFFIX) for path in self.directory.glob(f"*{_SUFFIX}"))
        return tuple(sorted(name for name in found if _NAME.fullmatch(name)))

    def load(self, name: str = DEFAULT_NAME) -> Session:
        """Return the session called `name`."""
        path = self._path(name)
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            raise SessionError(
                f"there is no session {name!r}; make one with `bunker pair`"
            ) from None
        except OSError as error:
            raise SessionError(f"session {path}: {error.strerror}") from None
        master_key = self._master_key.read()
        if master_key is None:
            raise SessionError(f"the master key of {self.directory} is gone; pair anew")
        try:
            return _open(data, master_key)
        finally:
            wipe(master_key)

    def save(self, session: Session, name: str = DEFAULT_NAME) -> None:
        """Keep a session, in place of the one that had its name."""
        path = self._path(name)
        master_key = open_master_key(self.directory, self._master_key)
        try:
            write_private(path, _seal(session, master_key), replace=True)
        except OSError as error:
            raise SessionError(f"{path}: {error.strerror}") from None
        finally:
            wipe(master_key)

    def delete(self, name: str = DEFAULT_NAME) -> None:
        """Delete a session; one that is not there is deleted already."""
        try:
            self._path(name).unlink(missing_ok=True)
        except OSError as error:
            raise SessionError(f"session {name!r} can't be deleted: {error.strerror}") from None

    def signer(self, name: str = DEFAULT_NAME, **options: Unpack[Options]) -> RemoteSigner:
        """Return the signer of a session, without a new pairing.

        `logout` deletes the session; a signer that moves to other relays is found there next time.
        """
        session = self.load(name)
        return RemoteSigner.from_session(
            session,
            on_logout=lambda: self.delete(name),
            on_moved=lambda moved: self.save(moved, name),
            **options,
        )

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise SessionError("a session's name is 1 to 64 letters, digits, dots or dashes")
        return self.directory / f"{name}{_SUFFIX}"


def _seal(session: Session, master_key: bytearray) -> bytes:
    key = session.client_key
    content = {
        "remote_signer": session.remote_signer_pubkey,
        "user": session.user_pubkey,
        "relays": session.relays,
    }
    payload = nip44.encrypt(orjson.dumps(content).decode(), _own_conversation(key))
    return orjson.dumps({"version": 1, "key": seal(key, master_key), "session": payload})


def _open(data: bytes, master_key: bytearray) -> Session:
    try:
        value: Any = orjson.loads(data) if len(data) <= MAX_BYTES else None
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict) or value.get("version") != 1:
        raise SessionError("the session is damaged, or of a later version")
    key = unseal(value.get("key"), master_key)
    try:
        content = orjson.loads(nip44.decrypt(str(value.get("session")), _own_conversation(key)))
        relays = tuple(map(parse_relay_url, content["relays"]))
        return Session(key, content["remote_signer"], content["user"], relays)
    except (BunkerError, ValueError, KeyError, TypeError, AttributeError):
        raise SessionError(
            "the session is damaged: what belongs to the key can't be read"
        ) from None


def _own_conversation(key: SecretKey) -> bytes:
    return nip44.conversation_key(key.shared_x(key.pubkey))
