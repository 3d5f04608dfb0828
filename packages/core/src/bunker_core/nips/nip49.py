"""NIP-49: a private key encrypted under a passphrase, `ncryptsec1...`, the form of a backup.

XChaCha20-Poly1305 is made of what `cryptography` has: HChaCha20 is one ChaCha20 block less the
words that the block function adds at its end, all of which are public for the words that count
(draft-irtf-cfrg-xchacha-03, section 2.2).
"""

import os
import unicodedata
from enum import IntEnum
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from bunker_core.errors import CryptoError, InvalidEntity
from bunker_core.keys import Buffer, wipe
from bunker_core.nips.nip19 import decode_bech32, encode_bech32

DEFAULT_LOG_N: Final = 16  # 64 MiB, about a quarter of a second
# NIP-49 lists up to 22, which is 4 GiB: what a stranger's text may take is bounded below that.
MAX_LOG_N: Final = 20
MIN_LOG_N: Final = 1
WORK_BYTES: Final = 32

_NAME: Final = "ncryptsec"
_VERSION: Final = 2
_BYTES: Final = 91  # version 1, log_n 1, salt 16, nonce 24, security 1, ciphertext 48
_CONSTANT: Final = b"expand 32-byte k"


class KeySecurity(IntEnum):
    """What is known of how the key was handled before."""

    HANDLED_INSECURELY = 0
    NOT_KNOWN_TO_BE_INSECURE = 1
    NOT_TRACKED = 2


def encrypt(
    secret: Buffer,
    passphrase: str | Buffer,
    *,
    log_n: int = DEFAULT_LOG_N,
    security: KeySecurity = KeySecurity.NOT_TRACKED,
    work: Buffer | None = None,
) -> str:
    """Return `ncryptsec1...` of the 32-byte `secret`; 2**`log_n` is scrypt's N, 1 to MAX_LOG_N.

    `work` is a 32-byte buffer of the caller for the symmetric key, which is wiped. Raises
    CryptoError.
    """
    if len(secret) != 32 or not MIN_LOG_N <= log_n <= MAX_LOG_N:
        raise CryptoError
    salt, nonce = os.urandom(16), os.urandom(24)
    aad = bytes([security])
    key = bytearray(WORK_BYTES) if work is None else work
    try:
        _derive(passphrase, salt, log_n, key)
        _subkey(key, nonce[:16])
        ciphertext = ChaCha20Poly1305(key).encrypt(bytes(4) + nonce[16:], secret, aad)
    finally:
        wipe(key)
    return encode_bech32(_NAME, bytes([_VERSION, log_n]) + salt + nonce + aad + ciphertext)


def decrypt(
    ncryptsec: str, passphrase: str | Buffer, out: Buffer, *, work: Buffer | None = None
) -> KeySecurity:
    """Write the private key in `ncryptsec` into the 32-byte `out`; return how it was handled.

    `work` as for `encrypt`. Raises InvalidEntity for a text that is none, CryptoError for a wrong
    passphrase or a changed text; `out` is zero then.
    """
    name, data = decode_bech32(ncryptsec.strip())
    if name != _NAME or len(data) != _BYTES or data[0] != _VERSION:
        raise InvalidEntity("not an ncryptsec of a version that is known here")
    if not MIN_LOG_N <= data[1] <= MAX_LOG_N:
        raise InvalidEntity(f"ncryptsec asks for more memory than is allowed (log_n {data[1]})")
    salt, nonce, aad, ciphertext = data[2:18], bytes(data[18:42]), data[42:43], data[43:]
    try:
        security = KeySecurity(aad[0])
    except ValueError:
        raise InvalidEntity("ncryptsec has an unknown key security byte") from None
    key = bytearray(WORK_BYTES) if work is None else work
    try:
        _derive(passphrase, bytes(salt), data[1], key)
        _subkey(key, nonce[:16])
        ChaCha20Poly1305(key).decrypt_into(bytes(4) + nonce[16:], ciphertext, aad, out)
    except (InvalidTag, ValueError):
        wipe(out)
        raise CryptoError from None
    finally:
        wipe(key)
    return security


def _derive(passphrase: str | Buffer, salt: bytes, log_n: int, out: Buffer) -> None:
    """scrypt of the passphrase in NFKC, straight into `out`."""
    try:
        text = passphrase if isinstance(passphrase, str) else str(passphrase, "utf-8")
        material = bytearray(unicodedata.normalize("NFKC", text).encode())
    except UnicodeError:
        raise CryptoError from None
    try:
        Scrypt(salt=salt, length=32, n=2**log_n, r=8, p=1).derive_into(material, out)
    finally:
        wipe(material)


def _subkey(key: Buffer, nonce: bytes) -> None:
    """HChaCha20: replace `key` by the subkey of a 16-byte `nonce`, in place.

    The block function's output is the state after the rounds plus the state before: the first and
    the last four words of the state are the constant and the nonce, which anybody can subtract.
    """
    encryptor = Cipher(ChaCha20(key, nonce), mode=None).encryptor()
    block = bytearray(64)
    try:
        encryptor.update_into(bytes(64), block)
        for index in range(32):  # words 0 to 3 and 12 to 15 of the block
            key[index] = block[index if index < 16 else index + 32]
        _subtract(key, _CONSTANT + nonce)
    finally:
        wipe(block)


def _subtract(key: Buffer, public: bytes) -> None:
    """Subtract eight little-endian 32-bit words, a byte at a time: no piece becomes an `int`."""
    borrow = 0
    for index in range(32):
        if index % 4 == 0:
            borrow = 0
        difference = key[index] - public[index] - borrow
        borrow = 1 if difference < 0 else 0
        key[index] = difference & 0xFF
