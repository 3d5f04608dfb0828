"""NSE: one sealed Nostr key, opened for a single operation at a time."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from bunker_core import keys, nip04, nip44, nip49
from bunker_core.errors import CryptoError, InvalidEntity, InvalidEvent, InvalidKey
from bunker_core.event import Event, EventTemplate, event_id
from bunker_core.keys import Buffer, wipe
from bunker_core.nip19 import encode_npub
from bunker_signer.nse import slots as slot_work
from bunker_signer.nse.attempts import Attempts
from bunker_signer.nse.autolock import AutoLock
from bunker_signer.nse.blob import Blob, BlobV1, BlobV2, parse_blob
from bunker_signer.nse.errors import NSEError, NSEErrorCode
from bunker_signer.nse.memory import MemoryLevel
from bunker_signer.nse.model import (
    BACKUP_KEY,
    DEFAULT_NAME,
    KeyInfo,
    NostrEvent,
    SignedEvent,
    key_info,
    storage_key,
    template_of,
)
from bunker_signer.nse.storage import MemoryStorage, NSEStorage, SwapStorage
from bunker_signer.nse.vault import KEY_BYTES, Vault, seal
from bunker_signer.nse.wrap import Protector
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


class NSE:
    """One named key in a storage. Thread safe; not for use in a forked child, which is told so.

    Every failure is an NSEError. `close` (or the end of a `with` block) wipes all secrets.
    """

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

        `master_key` is 64 hex characters or a 32-byte buffer; it is copied, the caller wipes his
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

    # Facts: nothing is opened.

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

    def exists(self) -> bool:
        """Tell whether the key is there."""
        return self._storage.get(self._key) is not None

    def get_public_key(self) -> str:
        """Return the key's pubkey."""
        return self._load()[1].pubkey

    def get_npub(self) -> str:
        """Return the key's pubkey as npub."""
        return self._load()[1].npub

    def info(self) -> KeyInfo:
        """Return what is known of the key without opening it."""
        return key_info(self._load()[1])

    def slots(self) -> tuple[slot_work.SlotInfo, ...]:
        """Return the key's slots; a version 1 key has none."""
        blob = self._load()[1]
        return slot_work.slot_infos(blob) if isinstance(blob, BlobV2) else ()

    # Making and removing the key.

    def generate(
        self,
        *,
        recovery: Protector | None = None,
        unrecoverable: bool = False,
        blob_version: int = 2,
    ) -> KeyInfo:
        """Make a fresh key and store it sealed; raises NSEError KEY_EXISTS when there is one.

        The enclave's own protector gets a slot, `recovery` a second one. Without a slot that
        outlives a device, `unrecoverable` has to say that none is wanted. `blob_version=1` writes
        the reference package's format (master key alone).
        """
        with self._ready():
            self._check_absent()
            keys.fill_random_secret(self._vault.secret)
            return self._store_new(recovery, unrecoverable, blob_version)

    def import_key(
        self,
        secret: Buffer,
        *,
        recovery: Protector | None = None,
        unrecoverable: bool = False,
        blob_version: int = 2,
    ) -> KeyInfo:
        """Store the 32-byte private key in `secret`, which is wiped in every case."""
        try:
            with self._ready():
                self._check_absent()
                if len(secret) != KEY_BYTES:
                    raise NSEError("a private key has 32 bytes", NSEErrorCode.SIGN_FAILED)
                self._vault.secret[:] = memoryview(secret).cast("B")
                return self._store_new(recovery, unrecoverable, blob_version)
        finally:
            wipe(secret)

    def import_ncryptsec(
        self,
        ncryptsec: str,
        passphrase: str | Buffer,
        *,
        recovery: Protector | None = None,
        unrecoverable: bool = False,
    ) -> KeyInfo:
        """Store the private key in a NIP-49 `ncryptsec1...` text."""
        with self._ready(), _decryption():
            self._check_absent()
            nip49.decrypt(ncryptsec, passphrase, self._vault.secret, work=self._vault.shared_x)
            return self._store_new(recovery, unrecoverable, 2)

    def export_ncryptsec(
        self, passphrase: str | Buffer, *, log_n: int = nip49.DEFAULT_LOG_N
    ) -> str:
        """Return the private key encrypted under `passphrase` (NIP-49), the form of a backup."""
        with self._opened(), _encryption():
            return nip49.encrypt(
                self._vault.secret, passphrase, log_n=log_n, work=self._vault.shared_x
            )

    def destroy(self) -> None:
        """Remove the key from the storage. Nothing brings it back but a copy made before."""
        with self._ready():
            self._storage.delete(self._key)
            self._storage.delete(storage_key(self._name, BACKUP_KEY))
            self._forget()

    # Using it.

    def sign(self, event: NostrEvent | EventTemplate) -> SignedEvent:
        """Return `event` signed. The signature was verified before it is returned."""
        template = template_of(event)
        self._check_alive()
        with self._lock:  # `_opened` without its generators: they are a tenth of a signature
            try:
                pubkey = self._open()
                try:
                    identifier = event_id(template, pubkey)
                except InvalidEvent as error:
                    raise NSEError(str(error), NSEErrorCode.SIGN_FAILED) from None
                signature = self._vault.sign(pubkey, bytes.fromhex(identifier))
            finally:
                self._vault.end()
        return Event(
            id=identifier,
            pubkey=pubkey,
            created_at=template.created_at,
            kind=template.kind,
            tags=template.tags,
            content=template.content,
            sig=signature.hex(),
        )

    def nip44_encrypt(self, peer_pubkey: str, plaintext: str) -> str:
        """Return the NIP-44 payload of `plaintext` for `peer_pubkey`."""
        with self._opened(), _encryption():
            return self._vault.nip44_encrypt(peer_pubkey, plaintext)

    def nip44_decrypt(self, peer_pubkey: str, payload: str) -> str:
        """Return the plaintext of a NIP-44 `payload` from `peer_pubkey`."""
        with self._opened(), _decryption():
            return self._vault.nip44_decrypt(peer_pubkey, payload)

    def nip04_encrypt(self, peer_pubkey: str, plaintext: str) -> str:
        """Return the NIP-04 payload of `plaintext` for `peer_pubkey`."""
        with self._opened(), _encryption():
            return nip04.encrypt(plaintext, self._vault.share(peer_pubkey))

    def nip04_decrypt(self, peer_pubkey: str, payload: str) -> str:
        """Return the plaintext of a NIP-04 `payload` from `peer_pubkey`."""
        with self._opened(), _decryption():
            return nip04.decrypt(payload, self._vault.share(peer_pubkey))

    def conversation_key(self, peer_pubkey: str) -> bytes:
        """Return the NIP-44 conversation key with `peer_pubkey`, for a transport that keeps it.

        It leaves the page: whoever has it reads this one conversation. For a user's own messages
        there is `nip44_decrypt`.
        """
        return nip44.conversation_key(self.shared_x(peer_pubkey))

    def shared_x(self, peer_pubkey: str) -> bytes:
        """Return the ECDH x with `peer_pubkey`, for a NIP-04 transport; as `conversation_key`."""
        with self._opened(), _encryption():
            return bytes(self._vault.share(peer_pubkey))

    # Locking and slots.

    def unlock(self, protector: Protector) -> KeyInfo:
        """Open the key by `protector` and keep its data key in the page until `lock`.

        The protector is not kept. Wrong secrets in a row make the next attempt wait.
        """
        with self._ready():
            raw, blob = self._load()
            self._unlock(raw, blob, protector)
            return key_info(blob)

    def lock(self) -> None:
        """Wipe the data key, and the master key if the enclave has one; `unlock` reopens it."""
        with self._ready():
            self._forget()
            self._protector = None
            if self._master is not None:
                self._master.close()

    def add_slot(self, protector: Protector) -> slot_work.SlotInfo:
        """Let `protector` open the key too."""
        with self._changing() as (raw, blob):
            changed = slot_work.with_slot(self._vault, blob, protector)
            self._replace(raw, changed)
        return slot_work.slot_infos(changed)[-1]

    def remove_slot(self, slot_id: str, *, unrecoverable: bool = False) -> None:
        """Remove a slot; the last one, and the last that outlives a device, are kept."""
        with self._changing() as (raw, blob):
            changed = slot_work.without_slot(self._vault, blob, slot_id)
            if not unrecoverable:
                slot_work.check_recoverable(changed)
            self._replace(raw, changed)

    def rotate(self, *protectors: Protector) -> None:
        """Replace the data key. Every slot is made anew, so each one's protector has to be given.

        The enclave's own protector is among them already.
        """
        given = (*protectors, *((self._protector,) if self._protector else ()))
        with self._changing() as (raw, blob):
            changed = slot_work.rotated(self._vault, blob, given)
            self._replace(raw, changed)

    def rescue(self, protector: Protector) -> KeyInfo:
        """Rewrite a version 2 key whose file is damaged outside of what `protector` needs.

        A key is refused when any byte of its file was changed, also in a slot that is not used.
        This opens it by `protector`, checks the private key against its public key, and stores it
        with that protector's slot alone.
        """
        with self._ready():
            raw, blob = self._load()
            if not isinstance(blob, BlobV2):
                raise NSEError("only version 2 keys have slots", NSEErrorCode.STORAGE_ERROR)
            self._attempts.check()
            self._forget()
            try:
                slot_work.open_any_slot(self._vault, blob, protector)
                opened = Opened.of(raw, blob)
                self._vault.open(opened.nonce, opened.sealed, opened.aad, opened.pubkey)
                changed = slot_work.rescued(self._vault, blob, protector)
                self._swap(raw, changed)
            except NSEError as error:
                if error.code is NSEErrorCode.AUTH_FAILED:
                    self._attempts.failed()
                raise
            finally:
                self._forget()
                self._vault.end()
            return key_info(changed)

    def migrate(self, *, recovery: Protector | None = None) -> KeyInfo:
        """Turn a version 1 key into version 2; the old file is kept until the new one has signed.

        A migration that was interrupted is finished; a version 2 key is left as it is.
        """
        backup = storage_key(self._name, BACKUP_KEY)
        with self._ready():
            raw, blob = self._load()
            if isinstance(blob, BlobV1):
                if self._protector is None:
                    raise _locked()
                protectors = [self._protector, *([recovery] if recovery else [])]
                with self._opened():
                    changed = slot_work.new_blob(
                        self._vault, blob.pubkey, blob.created_at, protectors
                    )
                    self._storage.put(backup, raw)
                    self._forget()
                    self._swap(raw, changed)
            self._test_sign()
            self._storage.delete(backup)
            return key_info(self._load()[1])

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
            raise _locked()
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
        if self._protector is None:
            raise _locked()
        try:
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

    def _test_sign(self) -> None:
        self.sign(EventTemplate(22242, "migration test, not published", (), 0))


@contextmanager
def _encryption() -> Iterator[None]:
    try:
        yield
    except (InvalidKey, CryptoError, InvalidEntity) as error:
        raise NSEError(str(error), NSEErrorCode.SIGN_FAILED) from None


@contextmanager
def _decryption() -> Iterator[None]:
    try:
        yield
    except (InvalidKey, CryptoError, InvalidEntity) as error:
        raise NSEError(str(error), NSEErrorCode.DECRYPTION_FAILED) from None


def _locked() -> NSEError:
    return NSEError("the key is locked: unlock it first", NSEErrorCode.AUTH_FAILED)


def _exists() -> NSEError:
    return NSEError("there is a key already: destroy it first", NSEErrorCode.KEY_EXISTS)
