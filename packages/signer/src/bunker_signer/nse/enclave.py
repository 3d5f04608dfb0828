"""NSE: one sealed Nostr key, opened for a single operation at a time."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from bunker_core import keys, nip04, nip44
from bunker_core.errors import CryptoError, InvalidEvent, InvalidKey
from bunker_core.event import Event, EventTemplate, event_id, parse_tags
from bunker_core.keys import Buffer, wipe
from bunker_core.nip19 import encode_npub
from bunker_signer.nse.blob import BlobV1, parse_blob
from bunker_signer.nse.errors import NSEError, NSEErrorCode
from bunker_signer.nse.memory import MemoryLevel, Page
from bunker_signer.nse.storage import MemoryStorage, NSEStorage, SwapStorage
from bunker_signer.nse.vault import KEY_BYTES, Vault, seal

BLOB_KEY: Final = "nse:blob"
DEFAULT_NAME: Final = "default"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

SignedEvent = Event


@dataclass(slots=True)
class NostrEvent:
    """What an app wants signed, as the reference package has it."""

    kind: int
    content: str
    tags: list[list[str]] = field(default_factory=list)
    created_at: int = 0


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What is known of a sealed key without opening it."""

    pubkey: str
    npub: str
    created_at: int
    hardware_backed: bool


class NSE:
    """One named key in a storage. Thread safe; not for use in a forked child, which is told so.

    Every failure is an NSEError. `close` (or the end of a `with` block) wipes all secrets.
    """

    def __init__(
        self,
        master_key: str | Buffer,
        storage: NSEStorage | None = None,
        name: str = DEFAULT_NAME,
    ) -> None:
        """Take the key called `name` in `storage` (memory unless given).

        `master_key` is 64 hex characters or a 32-byte buffer; it is copied into the page, the
        caller wipes his own copy.
        """
        self._storage = MemoryStorage() if storage is None else storage
        self._key = storage_key(name)
        self._lock = threading.RLock()
        self._vault = Vault()
        self._master = Page()
        try:
            _read_master_key(master_key, self._master.view[:KEY_BYTES])
        except NSEError:
            self.close()
            raise

    @property
    def memory_level(self) -> MemoryLevel:
        """How well the memory of the opened key is protected."""
        return self._vault.page.level

    def generate(self) -> KeyInfo:
        """Make a fresh key and store it sealed; raises NSEError KEY_EXISTS when there is one."""
        with self._ready():
            self._check_absent()
            try:
                keys.fill_random_secret(self._vault.secret)
                return self._store_new()
            finally:
                self._vault.end()

    def import_key(self, secret: Buffer) -> KeyInfo:
        """Store the 32-byte private key in `secret`, which is wiped in every case."""
        try:
            with self._ready():
                self._check_absent()
                if len(secret) != KEY_BYTES:
                    raise NSEError("a private key has 32 bytes", NSEErrorCode.SIGN_FAILED)
                try:
                    self._vault.secret[:] = memoryview(secret).cast("B")
                    return self._store_new()
                finally:
                    self._vault.end()
        finally:
            wipe(secret)

    def exists(self) -> bool:
        """Tell whether the key is there."""
        return self._storage.get(self._key) is not None

    def destroy(self) -> None:
        """Remove the key from the storage. Nothing brings it back but a copy made before."""
        with self._ready():
            self._storage.delete(self._key)

    def get_public_key(self) -> str:
        """Return the key's pubkey."""
        return self._load()[1].pubkey

    def get_npub(self) -> str:
        """Return the key's pubkey as npub."""
        return self._load()[1].npub

    def info(self) -> KeyInfo:
        """Return what is known of the key without opening it."""
        return _info(self._load()[1])

    def sign(self, event: NostrEvent | EventTemplate) -> SignedEvent:
        """Return `event` signed. The signature was verified before it is returned."""
        template = _template(event)
        with self._opened() as pubkey:
            try:
                identifier = event_id(template, pubkey)
            except InvalidEvent as error:
                raise NSEError(str(error), NSEErrorCode.SIGN_FAILED) from None
            signature = self._vault.sign(pubkey, bytes.fromhex(identifier))
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
        nonce = bytearray(32)
        keys.fill_random_secret(nonce)
        with self._opened(), _encryption():
            keys.shared_x(self._vault.secret, peer_pubkey, self._vault.shared_x)
            nip44.derive_message_keys(self._vault.shared_x, bytes(nonce), self._vault.message_keys)
            return nip44.encrypt_with(plaintext, bytes(nonce), self._vault.message_keys)

    def nip44_decrypt(self, peer_pubkey: str, payload: str) -> str:
        """Return the plaintext of a NIP-44 `payload` from `peer_pubkey`."""
        with self._opened(), _decryption():
            nonce = nip44.payload_nonce(payload)
            keys.shared_x(self._vault.secret, peer_pubkey, self._vault.shared_x)
            nip44.derive_message_keys(self._vault.shared_x, nonce, self._vault.message_keys)
            return nip44.decrypt_with(payload, self._vault.message_keys)

    def nip04_encrypt(self, peer_pubkey: str, plaintext: str) -> str:
        """Return the NIP-04 payload of `plaintext` for `peer_pubkey`."""
        with self._opened(), _encryption():
            keys.shared_x(self._vault.secret, peer_pubkey, self._vault.shared_x)
            return nip04.encrypt(plaintext, self._vault.shared_x)

    def nip04_decrypt(self, peer_pubkey: str, payload: str) -> str:
        """Return the plaintext of a NIP-04 `payload` from `peer_pubkey`."""
        with self._opened(), _decryption():
            keys.shared_x(self._vault.secret, peer_pubkey, self._vault.shared_x)
            return nip04.decrypt(payload, self._vault.shared_x)

    def conversation_key(self, peer_pubkey: str) -> bytes:
        """Return the NIP-44 conversation key with `peer_pubkey`, for a transport that keeps it.

        It leaves the page: whoever has it reads this one conversation. For a user's own messages
        there is `nip44_decrypt`.
        """
        return nip44.conversation_key(self.shared_x(peer_pubkey))

    def shared_x(self, peer_pubkey: str) -> bytes:
        """Return the ECDH x with `peer_pubkey`, for a NIP-04 transport; as `conversation_key`."""
        with self._opened(), _encryption():
            keys.shared_x(self._vault.secret, peer_pubkey, self._vault.shared_x)
            return bytes(self._vault.shared_x)

    def close(self) -> None:
        """Wipe all secrets. Whatever is asked afterwards is an NSEError."""
        with self._lock:
            self._vault.page.close()
            if hasattr(self, "_master"):
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
            _, blob = self._load()
            self._vault.data_key[:] = self._master.view[:KEY_BYTES]
            with self._vault.opened(blob.nonce, blob.sealed, blob.aad, blob.pubkey):
                yield blob.pubkey

    def _load(self) -> tuple[str, BlobV1]:
        raw = self._storage.get(self._key)
        if raw is None:
            raise NSEError("no key found: generate or import one", NSEErrorCode.KEY_NOT_FOUND)
        return raw, parse_blob(raw)

    def _check_absent(self) -> None:
        if self.exists():
            raise _exists()

    def _store_new(self) -> KeyInfo:
        """Seal what is in the vault's `secret` and store it, unless there is a key by now."""
        try:
            keys.load_keypair(self._vault.secret, self._vault.keypair)
        except InvalidKey as error:
            raise NSEError(str(error), NSEErrorCode.SIGN_FAILED) from None
        pubkey = keys.keypair_pubkey(self._vault.keypair)
        nonce, sealed = seal(self._master.view[:KEY_BYTES], self._vault.secret, None)
        blob = BlobV1(
            version=1,
            ciphertext=sealed.hex(),
            iv=nonce.hex(),
            pubkey=pubkey,
            npub=encode_npub(pubkey),
            created_at=int(time.time()),
            hardware_backed=False,
        )
        if isinstance(self._storage, SwapStorage):
            if not self._storage.swap(self._key, None, blob.to_json()):
                raise _exists()
        else:
            self._storage.put(self._key, blob.to_json())
        return _info(blob)


def storage_key(name: str) -> str:
    """Return where the key called `name` is stored; raises NSEError for a name that is none."""
    if not _NAME.fullmatch(name):
        raise NSEError(
            "a key's name is 1 to 64 letters, digits, dots, dashes or underscores",
            NSEErrorCode.STORAGE_ERROR,
        )
    return BLOB_KEY if name == DEFAULT_NAME else f"{BLOB_KEY}:{name}"


def _read_master_key(master_key: str | Buffer, out: memoryview) -> None:
    if not isinstance(master_key, str):
        if len(master_key) != KEY_BYTES:
            raise NSEError("master key is not 32 bytes", NSEErrorCode.HARDWARE_UNAVAILABLE)
        out[:] = memoryview(master_key).cast("B")
        return
    if len(master_key) != 2 * KEY_BYTES or not _HEX.issuperset(master_key):
        raise NSEError("master key is not 64 hex characters", NSEErrorCode.HARDWARE_UNAVAILABLE)
    for index in range(KEY_BYTES):  # two digits at a time: never the whole key as bytes
        out[index] = int(master_key[2 * index : 2 * index + 2], 16)


_HEX: Final = frozenset("0123456789abcdefABCDEF")


def _template(event: NostrEvent | EventTemplate) -> EventTemplate:
    if isinstance(event, EventTemplate):
        return event
    try:
        return EventTemplate(event.kind, event.content, parse_tags(event.tags), event.created_at)
    except (InvalidEvent, AttributeError) as error:
        raise NSEError(f"not an event: {error}", NSEErrorCode.SIGN_FAILED) from None


@contextmanager
def _encryption() -> Iterator[None]:
    try:
        yield
    except (InvalidKey, CryptoError) as error:
        raise NSEError(str(error), NSEErrorCode.SIGN_FAILED) from None


@contextmanager
def _decryption() -> Iterator[None]:
    try:
        yield
    except (InvalidKey, CryptoError) as error:
        raise NSEError(str(error), NSEErrorCode.DECRYPTION_FAILED) from None


def _info(blob: BlobV1) -> KeyInfo:
    return KeyInfo(blob.pubkey, blob.npub, blob.created_at, blob.hardware_backed)


def _exists() -> NSEError:
    return NSEError("there is a key already: destroy it first", NSEErrorCode.KEY_EXISTS)
