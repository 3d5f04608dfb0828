"""NIP-44 version 2: authenticated encryption between two keys, with the 2026 length prefix.

A payload is base64 of: 1 version byte, 32-byte nonce, ChaCha20 ciphertext, 32-byte HMAC-SHA256.
All failures of decryption raise the same CryptoError.

The functions that take `message_keys` exist for the NSE, which derives them in its own page; all
others take the 32-byte conversation key.
"""

import hmac
import os
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from bunker_core.errors import CryptoError
from bunker_core.keys import Buffer

VERSION: Final = 2
MESSAGE_KEYS_BYTES: Final = 76  # ChaCha20 key 32, its nonce 12, HMAC key 32
MIN_PLAINTEXT: Final = 1
# NIP-44 allows 2**32 - 1 and asks implementations for a bound of their own. A relay frame ends
# far below 16 MiB; the bound on the payload is that plaintext padded, in base64.
MAX_PLAINTEXT: Final = 16 * 1024 * 1024
MAX_PAYLOAD: Final = 24 * 1024 * 1024

_SALT: Final = b"nip44-v2"
_EXTENDED_FROM: Final = 65536  # bytes; from here on the length prefix is 6 bytes
_MIN_PAYLOAD: Final = 132  # characters
_MIN_DATA: Final = 99  # bytes


def conversation_key(shared_x: Buffer | bytes) -> bytes:
    """Return the 32-byte key of a pair of users from their 32-byte ECDH x: HKDF-extract."""
    return HKDF.extract(SHA256(), _SALT, bytes(shared_x))


def derive_message_keys(shared_x: Buffer, nonce: bytes, out: Buffer) -> None:
    """Write the 76 bytes of message keys for `nonce` into `out`, straight from the ECDH x.

    HKDF's extract and expand in one call: the conversation key never becomes a Python object.
    """
    HKDF(SHA256(), MESSAGE_KEYS_BYTES, salt=_SALT, info=nonce).derive_into(shared_x, out)


def message_keys(key: bytes, nonce: bytes) -> bytes:
    """Return the 76 bytes of message keys for a conversation key and a 32-byte nonce."""
    if len(key) != 32 or len(nonce) != 32:
        raise CryptoError
    return HKDFExpand(SHA256(), MESSAGE_KEYS_BYTES, info=nonce).derive(key)


def encrypt(plaintext: str, key: bytes, nonce: bytes | None = None) -> str:
    """Return the payload of `plaintext` (1 byte to MAX_PLAINTEXT as UTF-8) under `key`.

    `nonce` is 32 bytes, fresh unless given; giving one is for test vectors. Raises CryptoError.
    """
    nonce = os.urandom(32) if nonce is None else nonce
    return encrypt_with(plaintext, nonce, message_keys(key, nonce))


def decrypt(payload: str, key: bytes) -> str:
    """Return the plaintext of `payload` under the conversation key; raises CryptoError."""
    parts = _decode(payload)
    return _open(parts, message_keys(key, parts[0]))


def encrypt_with(plaintext: str, nonce: bytes, keys: Buffer | bytes) -> str:
    """Return the payload made with the message keys of `nonce`; raises CryptoError."""
    try:
        padded = pad(plaintext.encode())
    except UnicodeEncodeError:
        raise CryptoError from None
    chacha_key, chacha_nonce, hmac_key = _split(keys)
    ciphertext = _chacha20(chacha_key, chacha_nonce, padded)
    mac = hmac.digest(hmac_key, nonce + ciphertext, "sha256")
    return b64encode(bytes([VERSION]) + nonce + ciphertext + mac).decode()


def decrypt_with(payload: str, keys: Buffer | bytes) -> str:
    """Return the plaintext of `payload` under the message keys of its nonce; raises CryptoError."""
    return _open(_decode(payload), keys)


def _open(parts: tuple[bytes, bytes, bytes], keys: Buffer | bytes) -> str:
    nonce, ciphertext, mac = parts
    chacha_key, chacha_nonce, hmac_key = _split(keys)
    if not hmac.compare_digest(hmac.digest(hmac_key, nonce + ciphertext, "sha256"), mac):
        raise CryptoError
    try:
        return unpad(_chacha20(chacha_key, chacha_nonce, ciphertext)).decode()
    except UnicodeDecodeError:
        raise CryptoError from None


def payload_nonce(payload: str) -> bytes:
    """Return the 32-byte nonce in `payload`, for `derive_message_keys`; raises CryptoError."""
    return _decode(payload)[0]


def padded_length(length: int) -> int:
    """Return how many bytes a plaintext of `length` bytes takes after padding."""
    if length <= 32:
        return 32
    next_power = 1 << (length - 1).bit_length()
    chunk = 32 if next_power <= 256 else next_power // 8
    return chunk * ((length - 1) // chunk + 1)


def pad(plaintext: bytes) -> bytes:
    """Return length prefix, plaintext and zeros; raises CryptoError when the length is refused."""
    length = len(plaintext)
    if not MIN_PLAINTEXT <= length <= MAX_PLAINTEXT:
        raise CryptoError
    prefix = length.to_bytes(2) if length < _EXTENDED_FROM else b"\0\0" + length.to_bytes(4)
    return prefix + plaintext + bytes(padded_length(length) - length)


def unpad(padded: bytes) -> bytes:
    """Return the plaintext in `padded`; raises CryptoError."""
    prefix_length = 2
    length = int.from_bytes(padded[:2])
    if length == 0:  # no plaintext is empty, so a zero announces the extended prefix
        prefix_length = 6
        length = int.from_bytes(padded[2:6])
        if length < _EXTENDED_FROM:
            raise CryptoError
    plaintext = padded[prefix_length : prefix_length + length]
    if len(plaintext) != length or len(padded) != prefix_length + padded_length(length):
        raise CryptoError
    return plaintext


def _decode(payload: str) -> tuple[bytes, bytes, bytes]:
    """Return nonce, ciphertext and MAC. The size is checked before anything is decoded."""
    payload = payload.strip()  # a newline from a file or a shell
    if not _MIN_PAYLOAD <= len(payload) <= MAX_PAYLOAD or payload[0] == "#":
        raise CryptoError
    try:
        data = b64decode(payload, validate=True)
    except (ValueError, Base64Error):
        raise CryptoError from None
    if len(data) < _MIN_DATA or data[0] != VERSION:
        raise CryptoError
    return data[1:33], data[33:-32], data[-32:]


def _split(keys: Buffer | bytes) -> tuple[memoryview, memoryview, memoryview]:
    view = memoryview(keys)  # slices of a view stay in the caller's page
    return view[:32], view[32:44], view[44:76]


def _chacha20(key: memoryview, nonce: memoryview, data: bytes) -> bytes:
    # cryptography takes RFC 7539's 16 bytes: a little-endian block counter, here 0, then the nonce.
    cipher = Cipher(ChaCha20(key, bytes(4) + bytes(nonce)), mode=None)
    return cipher.encryptor().update(data)
