"""A stored key and its states: locked, unlocked, and open for one operation.

    locked --unlock--> unlocked --_open--> open --end--> unlocked --lock--> locked

Locked: the page is zero. Unlocked: it holds the data key. Open: also the private key. An enclave
that has a protector of its own unlocks by itself when it is first used.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from bunker_core import keys
from bunker_core.errors import InvalidKey
from bunker_core.keys import Buffer
from bunker_core.nips.nip19 import encode_npub
from bunker_signer.nse.attempts import Attempts
from bunker_signer.nse.autolock import AutoLock
from bunker_signer.nse.blob import Blob, BlobV1, BlobV2, parse_blob
from bunker_signer.nse.errors import NSEError, NSEErrorCode
from bunker_signer.nse.memory import MemoryLevel
from bunker_signer.nse.model import (
    DEFAULT_NAME,
    KeyInfo,
    key_info,
    storage_key,
)
from bunker_signer.nse.storage import MemoryStorage, NSEStorage, SwapStorage
from bunker_signer.nse.vault import Vault, seal
from bunker_signer.nse.wrap import Protector
from bunker_signer.nse.wrap import slots as slot_work
from bunker_signer.nse.wrap.master_key import MasterKey


@dataclass(frozen=True, slots=True)
class Opened:
    """The stored key that the data key in the vault opens, decoded once."""

    raw: str
    blob: Blob
    nonce: bytes
    sealed: bytes
    aad: bytes | None
    pubkey: str

    @classmethod
    def of(cls, raw: str, blob: Blob) -> Self:
        nonce, sealed = bytes.fromhex(blob.iv), bytes.fromhex(blob.ciphertext)
        return cls(raw, blob, nonce, sealed, blob.aad, blob.pubkey)


class SealedKey:
    """The state of one named key in a storage, under one lock. `NSE` is what is done with it."""

    def __init__(
        self,
        master_key: str | Buffer | None = None,
        storage: NSEStorage | None = None,
        name: str = DEFAULT_NAME,
        *,
        protector: Protector | None = None,
        auto_lock: float | None = None,
        memory: MemoryLevel = MemoryLevel.MEMFD_SECRET,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the key called `name` in `storage` (memory unless given).

        `master_key` is 64 hex characters or a 32-byte buffer; it is copied, the caller wipes their
        own. Any other `protector` stays the caller's to close. Either opens the key when it is
        first used, until `lock`; without one the enclave is locked until `unlock`. `auto_lock` is
        the idle time in seconds after which it locks by itself. `memory` is the best level of
        memory protection to try.
        """
        self._storage = MemoryStorage() if storage is None else storage
        self._name = name
        self._key = storage_key(name)
        self._master = None if master_key is None else MasterKey(master_key)
        self._protector = self._master or protector
        self._lock = threading.RLock()
        self._vault = Vault(memory)
        self._opened_blob: Opened | None = None  # what the vault's data key opens
        self._attempts = Attempts(clock)
        self._auto_lock = (
            None if auto_lock is None else AutoLock(auto_lock, self.lock, self._lock, clock)
        )

    @property
    def name(self) -> str:
        return self._name

    @property
    def memory_level(self) -> MemoryLevel:
        """How well the memory of the opened key is protected."""
        return self._vault.page.level

    @property
    def locked(self) -> bool:
        """Whether `unlock` is needed before the key can be used."""
        return self._opened_blob is None and self._protector is None

    def keep_open(self) -> None:
        """Let the private key stay in the page from its first use on, until `lock` or `close`.

        For a key that carries traffic and signs all the time, never for a user's. In memory that
        is not locked it is opened for one operation at a time all the same.
        """
        with self._ready():
            self._vault.stays_open = self.memory_level is not MemoryLevel.PLAIN

    def exists(self) -> bool:
        """Tell whether the key is there."""
        return self._storage.get(self._key) is not None

    def lock(self) -> None:
        """Wipe the data key, and the master key if the enclave has one; `unlock` reopens it."""
        with self._ready():
            self._forget()
            self._protector = None
            if self._master is not None:
                self._master.close()

    def close(self) -> None:
        """Wipe all secrets. Whatever is asked afterwards is an NSEError."""
        if not self._vault.page.alive:
            return
        with self._lock:
            self._forget()
            self._vault.page.close()
            if self._master is not None:
                self._master.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"NSE({self._key!r}, {self._storage!r})"

    @contextmanager
    def _ready(self) -> Iterator[None]:
        # Before the lock: a fork may have copied it while another thread held it.
        self._check_alive()
        with self._lock:
            self._check_alive()
            yield

    def _check_alive(self) -> None:
        if not self._vault.page.alive:
            raise NSEError(
                "the enclave is closed, or was made before a fork: make a new one",
                NSEErrorCode.AUTH_FAILED,
            )

    @contextmanager
    def _opened(self) -> Iterator[str]:
        """Have the key open in the vault inside the block; yields its pubkey."""
        with self._ready():
            try:
                yield self._open()
            finally:
                self._vault.end()

    def _open(self) -> str:
        """Have the key open in the vault, and return its pubkey; the caller ends it."""
        self._check_alive()
        if self._auto_lock is not None and self._auto_lock.expired:
            self.lock()
        raw = self._storage.get(self._key)
        opened = self._opened_blob
        if opened is None or opened.raw != raw:
            opened = self._unlock_again()
        if self._auto_lock is not None:
            self._auto_lock.touch()
        self._vault.open(opened.nonce, opened.sealed, opened.aad, opened.pubkey)
        return opened.pubkey

    def _unlock_again(self) -> Opened:
        """Open by the enclave's own protector: at first use, or after another process's change."""
        self._forget()
        raw, blob = self._load()
        if self._protector is None:
            raise locked_error()
        return self._unlock(raw, blob, self._protector)

    def _unlock(self, raw: str, blob: Blob, protector: Protector) -> Opened:
        self._attempts.check()
        self._forget()
        try:
            if isinstance(blob, BlobV2):
                slot_work.open_data_key(self._vault, blob, protector)
            elif isinstance(protector, MasterKey):
                protector.copy_into(self._vault.data_key)
            else:
                raise NSEError(
                    "a version 1 key opens by its master key alone", NSEErrorCode.KEY_NOT_FOUND
                )
            # Whether it is the right key at all, before anybody relies on it.
            opened = Opened.of(raw, blob)
            self._vault.open(opened.nonce, opened.sealed, opened.aad, opened.pubkey)
        except NSEError as error:
            self._vault.wipe()
            if error.code is NSEErrorCode.AUTH_FAILED:
                self._attempts.failed()
            raise
        except BaseException:
            self._vault.wipe()
            raise
        finally:
            self._vault.end()
        self._attempts.succeeded()
        self._opened_blob = opened
        if self._auto_lock is not None:
            self._auto_lock.touch()
        return opened

    def _forget(self) -> None:
        self._opened_blob = None
        self._vault.wipe()
        if self._auto_lock is not None:
            self._auto_lock.cancel()

    def _load(self) -> tuple[str, Blob]:
        raw = self._storage.get(self._key)
        if raw is None:
            raise NSEError("no key found: generate or import one", NSEErrorCode.KEY_NOT_FOUND)
        return raw, parse_blob(raw)

    def _check_absent(self) -> None:
        if self.exists():
            raise _exists()

    def _store_new(
        self, recovery: Protector | None, unrecoverable: bool, blob_version: int
    ) -> KeyInfo:
        """Seal what is in the vault's `secret` and store it, unless there is a key by now."""
        try:
            if self._protector is None:
                raise locked_error()
            keys.load_keypair(self._vault.secret, self._vault.keypair)
            pubkey = keys.keypair_pubkey(self._vault.keypair)
            protectors = [self._protector, *([recovery] if recovery else [])]
            blob: Blob
            if blob_version == 1:
                blob = self._seal_v1(pubkey)
            else:
                blob = slot_work.new_blob(self._vault, pubkey, int(time.time()), protectors)
                if not unrecoverable:
                    slot_work.check_recoverable(blob)
            self._swap(None, blob)
        except InvalidKey as error:
            raise NSEError(str(error), NSEErrorCode.SIGN_FAILED) from None
        finally:
            self._forget()
            self._vault.end()
        return key_info(blob)

    def _seal_v1(self, pubkey: str) -> BlobV1:
        if not isinstance(self._protector, MasterKey):
            raise NSEError("version 1 knows the master key alone", NSEErrorCode.AUTH_FAILED)
        self._protector.copy_into(self._vault.data_key)
        nonce, sealed = seal(self._vault.data_key, self._vault.secret, None)
        return BlobV1(
            version=1,
            ciphertext=sealed.hex(),
            iv=nonce.hex(),
            pubkey=pubkey,
            npub=encode_npub(pubkey),
            created_at=int(time.time()),
            hardware_backed=False,
        )

    @contextmanager
    def _changing(self) -> Iterator[tuple[str, BlobV2]]:
        """Have the key open for a change of its slots; a failure leaves it unlocked as before."""
        with self._opened():
            if self._opened_blob is None:
                raise AssertionError
            raw, blob = self._opened_blob.raw, self._opened_blob.blob
            if not isinstance(blob, BlobV2):
                raise NSEError(
                    "a version 1 key has no slots: migrate it first", NSEErrorCode.STORAGE_ERROR
                )
            self._vault.saved_key[:] = self._vault.data_key
            try:
                yield raw, blob
            except BaseException:
                self._vault.data_key[:] = self._vault.saved_key
                raise

    def _replace(self, raw: str, changed: BlobV2) -> None:
        self._swap(raw, changed)
        self._opened_blob = Opened.of(changed.to_json(), changed)

    def _swap(self, old: str | None, new: Blob) -> None:
        """Store `new` unless somebody else wrote since `old` was read."""
        text = new.to_json()
        if not isinstance(self._storage, SwapStorage):
            self._storage.put(self._key, text)
        elif not self._storage.swap(self._key, old, text):
            if old is None:
                raise _exists()
            raise NSEError(
                "somebody else changed the stored key meanwhile: try again",
                NSEErrorCode.STORAGE_ERROR,
            )


def locked_error() -> NSEError:
    return NSEError("the key is locked: unlock it first", NSEErrorCode.AUTH_FAILED)


def _exists() -> NSEError:
    return NSEError("there is a key already: destroy it first", NSEErrorCode.KEY_EXISTS)
