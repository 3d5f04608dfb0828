"""NSE: one sealed Nostr key, opened for a single operation at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from bunker_core import keys
from bunker_core.errors import CryptoError, InvalidEntity, InvalidEvent, InvalidKey
from bunker_core.event import EventTemplate, event_id, signed
from bunker_core.keys import Buffer, wipe
from bunker_core.nips import nip04, nip44, nip49
from bunker_signer.nse.blob import BlobV1, BlobV2
from bunker_signer.nse.errors import NSEError, NSEErrorCode
from bunker_signer.nse.model import (
    BACKUP_KEY,
    KeyInfo,
    NostrEvent,
    SignedEvent,
    key_info,
    storage_key,
    template_of,
)
from bunker_signer.nse.sealed import Opened, SealedKey, locked_error
from bunker_signer.nse.vault import KEY_BYTES
from bunker_signer.nse.wrap import Protector
from bunker_signer.nse.wrap import slots as slot_work


class NSE(SealedKey):
    """One named key in a storage. Thread safe; not for use in a forked child, which is told so.

    Every failure is an NSEError. `close` (or the end of a `with` block) wipes all secrets.
    """

    # Facts: nothing is opened.

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

    def export_secret(self, out: Buffer) -> None:
        """Write the private key, 32 bytes and not encrypted, into `out`: the caller wipes it."""
        with self._opened():
            out[:] = self._vault.secret

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
        return signed(template, identifier, pubkey, signature)

    def nip44_encrypt(self, peer_pubkey: str, plaintext: str) -> str:
        """Return the NIP-44 payload of `plaintext` for `peer_pubkey`."""
        with self._opened(), _encryption():
            return self._vault.nip44_encrypt(peer_pubkey, plaintext)

    def nip44_decrypt(self, peer_pubkey: str, payload: str) -> str:
        """Return the plaintext of a NIP-44 `payload` from `peer_pubkey`."""
        with self._opened(), _decryption():
            return self._vault.nip44_decrypt(peer_pubkey, payload)

    def nip44v3_encrypt(self, peer_pubkey: str, plaintext: bytes, kind: int, scope: str) -> str:
        """Return the payload of NIP-44 version 3, a draft, that is bound to `kind` and `scope`."""
        with self._opened(), _encryption():
            return self._vault.nip44v3_encrypt(peer_pubkey, plaintext, kind, scope)

    def nip44v3_decrypt(self, peer_pubkey: str, payload: str, kind: int, scope: str) -> bytes:
        """Return the plaintext of a payload that is meant for `kind` and `scope`."""
        with self._opened(), _decryption():
            return self._vault.nip44v3_decrypt(peer_pubkey, payload, kind, scope)

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
                    raise locked_error()
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
