"""NIP-44 version 3, a draft: payloads that are bound to the kind and the scope they are meant for.

Amber, Clave and Keep answer it; it is not merged into NIP-44. A payload is base64 of: 1 version
byte, 32-byte nonce, 32-byte HMAC-SHA256, kind as u32, length of the scope as u32, scope, ChaCha20
ciphertext; integers are big-endian. The keys come by HKDF-SHA256 from the ECDH x with the salt
`nip44-v3` NUL nonce, one each for cipher and MAC. The MAC covers nonce, kind, scope and ciphertext.
The older test vectors of the draft leave the nonce out of the MAC; these are of the later ones.

A plaintext is bytes. All failures of decryption raise the same CryptoError, and so does a payload
of another kind or scope: it is in the clear, so that is no oracle.
"""

import hmac
import os
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bunker_core.errors import CryptoError
from bunker_core.keys import Buffer
from bunker_core.nips.nip44 import MAX_PAYLOAD, MAX_PLAINTEXT

VERSION: Final = 3
MESSAGE_KEYS_BYTES: Final = 64  # ChaCha20 key 32, HMAC key 32
MAX_KIND: Final = 2**31 - 1  # Amber's integers are signed
MAX_SCOPE: Final = 1024  # bytes of UTF-8; the draft names no bound
MIN_DATA: Final = 77  # bytes: all of the above with an empty scope and 4 bytes of ciphertext

_SALT: Final = b"nip44-v3\0"
_LARGE_FROM: Final = 32768  # bytes; from here on the padding is finer
_LEAST: Final = 32  # bytes of padding's smallest step


def derive_message_keys(shared_x: Buffer | bytes, nonce: bytes, out: Buffer) -> None:
    """Write the 64 bytes of message keys for `nonce` into `out`, straight from the ECDH x.

    Two derivations by HKDF that differ in their info: the extracted key is made twice, and never
    becomes a Python object.
    """
    view = memoryview(out)
    salt = _SALT + nonce
    HKDF(SHA256(), 32, salt=salt, info=b"encryption_key").derive_into(shared_x, view[:32])
    HKDF(SHA256(), 32, salt=salt, info=b"mac_key").derive_into(shared_x, view[32:64])


def encrypt_with(plaintext: bytes, nonce: bytes, keys: Buffer, kind: int, scope: str) -> str:
    """Return the payload made with the message keys of a 32-byte `nonce`; raises CryptoError."""
    head = _context(kind, scope)
    if len(plaintext) > MAX_PLAINTEXT or len(nonce) != 32:
        raise CryptoError
    prefixed = len(plaintext).to_bytes(4) + plaintext
    padded = prefixed + bytes(padded_length(len(prefixed)) - len(prefixed))
    view = memoryview(keys)
    ciphertext = _chacha20(view[:32], padded)
    mac = hmac.digest(view[32:64], nonce + head + ciphertext, "sha256")
    return b64encode(bytes([VERSION]) + nonce + mac + head + ciphertext).decode()


def decrypt_with(payload: str, keys: Buffer, kind: int, scope: str) -> bytes:
    """Return the plaintext under the message keys of the payload's nonce; raises CryptoError.

    `kind` and `scope` are what the payload has to be meant for.
    """
    data = _decode(payload)
    head = _context(kind, scope)
    nonce, mac, rest = data[1:33], data[33:65], data[65:]
    if not rest.startswith(head) or len(rest) < len(head) + 4:
        raise CryptoError
    ciphertext = rest[len(head) :]
    view = memoryview(keys)
    if not hmac.compare_digest(hmac.digest(view[32:64], nonce + rest, "sha256"), mac):
        raise CryptoError
    return unpad(_chacha20(view[:32], ciphertext))


def new_nonce() -> bytes:
    """Return 32 fresh random bytes."""
    return os.urandom(32)


def payload_nonce(payload: str) -> bytes:
    """Return the 32-byte nonce in `payload`, for `derive_message_keys`; raises CryptoError."""
    return _decode(payload)[1:33]


def padded_length(length: int) -> int:
    """Return how many bytes `length` bytes, their 4-byte prefix among them, take after padding."""
    if length <= 0:
        return _LEAST
    next_power = 1 << (length - 1).bit_length()
    chunk = max(_LEAST, next_power // (8 if next_power >= _LARGE_FROM else 4))
    return chunk * ((length + chunk - 1) // chunk)


def unpad(padded: bytes) -> bytes:
    """Return the plaintext in `padded`; raises CryptoError.

    The draft: no check of the padding's length, but all of it is zero.
    """
    length = int.from_bytes(padded[:4])
    plaintext, padding = padded[4 : 4 + length], padded[4 + length :]
    if len(padded) < 4 or len(plaintext) != length or any(padding):
        raise CryptoError
    return plaintext


def _context(kind: int, scope: str) -> bytes:
    """Return what binds a payload to its use; raises CryptoError."""
    try:
        text = scope.encode()
    except UnicodeEncodeError:
        raise CryptoError from None
    if not 0 <= kind <= MAX_KIND or len(text) > MAX_SCOPE:
        raise CryptoError
    return kind.to_bytes(4) + len(text).to_bytes(4) + text


def _decode(payload: str) -> bytes:
    payload = payload.strip()
    if not payload or len(payload) > MAX_PAYLOAD or payload[0] == "#":
        raise CryptoError
    try:
        data = b64decode(payload, validate=True)
    except (ValueError, Base64Error):
        raise CryptoError from None
    if len(data) < MIN_DATA or data[0] != VERSION:
        raise CryptoError
    return data


def _chacha20(key: memoryview, data: bytes) -> bytes:
    # A nonce of zeros: each key is used once, since the draft's nonce is in the salt that makes it.
    return Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor().update(data)
