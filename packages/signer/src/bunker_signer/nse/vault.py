"""The opened key: one page, one operation at a time, nothing left afterwards.

A key that carries traffic may stay open in the page instead, from one operation to the next
(`stays_open`): it is in use all the time, and no user's.

Every secret of an operation lies in this page: the data key while unlocked, and from
`decrypt_into` to the wipe the private key, libsecp256k1's keypair, the ECDH secret and the
message keys. None of them ever becomes a `bytes`, `str` or `int`.
"""

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bunker_core import keys
from bunker_core.keys import Buffer
from bunker_core.nips import nip44, nip44v3
from bunker_signer.nse.errors import NSEError, NSEErrorCode
from bunker_signer.nse.memory import MemoryLevel, Page, fill_random

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12

_ZEROS: Final = bytes(332)  # what an operation uses of the page, see the layout


class Vault:
    """The page of one sealed key and its layout. The owner serializes all calls."""

    def __init__(self, best: MemoryLevel = MemoryLevel.MEMFD_SECRET) -> None:
        self.page: Final = Page(best)
        view = self.page.view
        self.data_key: Final = view[0:32]  # opens the private key; there while unlocked
        self.wrapping_key: Final = view[32:64]  # opens the data key
        self.secret: Final = view[64:96]
        self.keypair: Final = view[96:192]
        self.shared_x: Final = view[192:224]
        self.message_keys: Final = view[224 : 224 + nip44.MESSAGE_KEYS_BYTES]
        self.scratch: Final = view[300:332]  # a second data key, while slots are checked
        self.saved_key: Final = view[332:364]  # the data key before a change of the slots
        self._operation: Final = view[32 : 32 + len(_ZEROS)]  # all but the data key
        self._around_key: Final = (self.wrapping_key, view[192 : 32 + len(_ZEROS)])
        self.stays_open = False
        self._open: tuple[bytes, str] | None = None  # ciphertext and pubkey of what stayed open
        self._decrypted = False  # something, since the last end
        # The ciphertext that was opened last, its pubkey, and the public half of its keypair.
        self._public: tuple[bytes, str, bytes] | None = None
        # Any key and a ciphertext of it, both known to nobody and worth nothing: see `_chaff`.
        self._dummy_key: Final = bytearray(KEY_BYTES)
        fill_random(self._dummy_key)
        self._dummy = seal(self._dummy_key, bytearray(KEY_BYTES), b"")

    def open(self, nonce: bytes, sealed: bytes, aad: bytes | None, pubkey: str) -> None:
        """Have the private key in `secret` and `keypair`, until the caller calls `end`.

        The key must be the one of `pubkey`: a sealed key beside another's name is refused.
        """
        if self._open == (sealed, pubkey):
            return
        self._open, self._decrypted = None, True
        open_into(self.data_key, nonce, sealed, aad, self.secret)
        if self._public is not None and self._public[:2] == (sealed, pubkey):
            # The same ciphertext is the same private key, whose public half was computed and
            # checked when it was opened first: a fifth of a signature.
            self.keypair[:KEY_BYTES] = self.secret
            self.keypair[KEY_BYTES:] = self._public[2]
        else:
            keys.load_keypair(self.secret, self.keypair)
            if keys.keypair_pubkey(self.keypair) != pubkey:
                raise NSEError(
                    "sealed key is not the one of its public key: the file was changed",
                    NSEErrorCode.DECRYPTION_FAILED,
                )
            self._public = sealed, pubkey, bytes(self.keypair[KEY_BYTES:])
        if self.stays_open:
            self._open = sealed, pubkey

    def sign(self, pubkey: str, message: bytes) -> bytes:
        """Return a checked BIP-340 signature by the opened key."""
        signature = keys.sign(self.keypair, message)
        # A fault in the computation can give the key away by a wrong signature (BIP-340).
        if not keys.verify(pubkey, message, signature):
            raise NSEError("signature did not verify: not released", NSEErrorCode.SIGN_FAILED)
        return signature

    def share(self, peer_pubkey: str) -> memoryview:
        """Return the ECDH x with `peer_pubkey`, in the page; raises InvalidKey."""
        keys.shared_x(self.secret, peer_pubkey, self.shared_x)
        return self.shared_x

    def nip44_encrypt(self, peer_pubkey: str, plaintext: str) -> str:
        """Return the NIP-44 payload for a peer; raises InvalidKey, CryptoError."""
        nonce = os.urandom(32)
        nip44.derive_message_keys(self.share(peer_pubkey), nonce, self.message_keys)
        return nip44.encrypt_with(plaintext, nonce, self.message_keys)

    def nip44_decrypt(self, peer_pubkey: str, payload: str) -> str:
        """Return the plaintext of a peer's NIP-44 payload; raises InvalidKey, CryptoError."""
        nonce = nip44.payload_nonce(payload)
        nip44.derive_message_keys(self.share(peer_pubkey), nonce, self.message_keys)
        return nip44.decrypt_with(payload, self.message_keys)

    def nip44v3_encrypt(self, peer_pubkey: str, plaintext: bytes, kind: int, scope: str) -> str:
        """Return the payload of NIP-44 version 3; raises InvalidKey, CryptoError."""
        nonce = nip44v3.new_nonce()
        nip44v3.derive_message_keys(self.share(peer_pubkey), nonce, self.message_keys)
        return nip44v3.encrypt_with(plaintext, nonce, self.message_keys, kind, scope)

    def nip44v3_decrypt(self, peer_pubkey: str, payload: str, kind: int, scope: str) -> bytes:
        """Return the plaintext of a payload for `kind` and `scope`; raises as above."""
        nonce = nip44v3.payload_nonce(payload)
        nip44v3.derive_message_keys(self.share(peer_pubkey), nonce, self.message_keys)
        return nip44v3.decrypt_with(payload, self.message_keys, kind, scope)

    def end(self) -> None:
        """Wipe everything but the data key, and the private key if that stays open."""
        if self._open is None:
            self._operation[:] = _ZEROS  # into the page itself: a third of `wipe`'s time
        else:
            for part in self._around_key:
                part[:] = _ZEROS[: len(part)]
        if self._decrypted or self._open is None:
            self._chaff()
            self._decrypted = False

    def wipe(self) -> None:
        """Wipe everything."""
        self._open = None
        self.page.wipe()

    def _chaff(self) -> None:
        """Decrypt a dummy, so that what the real decryption left in registers is overwritten.

        Half of the key stays in vector registers, and the next lazily bound library call makes
        the dynamic loader spill them to the stack, where they would remain.
        """
        nonce, sealed = self._dummy
        open_into(self._dummy_key, nonce, sealed, b"", self.scratch)
        self.scratch[:] = _ZEROS[:KEY_BYTES]


def seal(key: Buffer, secret: Buffer, aad: bytes | None) -> tuple[bytes, bytes]:
    """Return a fresh nonce and the 32-byte `secret` encrypted under `key` (AES-256-GCM)."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce, AESGCM(key).encrypt(nonce, secret, aad)


def authenticate(key: Buffer, aad: bytes) -> bytes:
    """Return a nonce and tag that only the holder of `key` makes for `aad`."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, b"", aad)


def check_authentic(key: Buffer, mac: bytes, aad: bytes) -> None:
    """Raise NSEError unless `mac` is what `authenticate` made of `key` and `aad`."""
    try:
        AESGCM(key).decrypt(mac[:NONCE_BYTES], mac[NONCE_BYTES:], aad)
    except InvalidTag:
        raise NSEError(
            "stored key was changed: its slots are not those that were written (see rescue)",
            NSEErrorCode.DECRYPTION_FAILED,
        ) from None


def open_into(
    key: Buffer,
    nonce: bytes,
    sealed: bytes,
    aad: bytes | None,
    out: memoryview,
) -> None:
    """Decrypt `sealed` into the 32-byte `out`; raises NSEError.

    The AES object lives for this call alone: its key schedule starts with the key itself, and
    OpenSSL cleanses it when the object goes.
    """
    try:
        AESGCM(key).decrypt_into(nonce, sealed, aad, out)
    except (InvalidTag, ValueError):
        raise NSEError(
            "sealed key can't be opened: wrong key, or the file was changed",
            NSEErrorCode.DECRYPTION_FAILED,
        ) from None
