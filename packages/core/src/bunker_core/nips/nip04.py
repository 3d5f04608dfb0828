"""NIP-04: AES-256-CBC under the bare ECDH x coordinate. Deprecated; old clients still need it.

There is no authentication: a changed ciphertext can decrypt to other text. Nothing new should
use it, but a bunker that refuses it can't serve the messages that people already have.
"""

import os
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7

from bunker_core.errors import CryptoError
from bunker_core.keys import Buffer

# Same bound as nip44, so that an old scheme is no way around it.
MAX_PAYLOAD: Final = 24 * 1024 * 1024

_BLOCK_BITS: Final = 128


def is_payload(text: str) -> bool:
    """Tell whether `text` looks like NIP-04 rather than NIP-44: only the former has an `?iv=`."""
    return "?iv=" in text


def encrypt(plaintext: str, shared_x: Buffer | bytes, iv: bytes | None = None) -> str:
    """Return `base64?iv=base64`; `shared_x` is the 32-byte ECDH x. Raises CryptoError."""
    iv = os.urandom(16) if iv is None else iv
    try:
        data = plaintext.encode()
        padder = PKCS7(_BLOCK_BITS).padder()
        padded = padder.update(data) + padder.finalize()
        encryptor = Cipher(AES256(shared_x), CBC(iv)).encryptor()
        ciphertext = encryptor.update(padded) + encryptor.finalize()
    except ValueError:  # a lone surrogate, an IV or key of the wrong size
        raise CryptoError from None
    return f"{b64encode(ciphertext).decode()}?iv={b64encode(iv).decode()}"


def decrypt(payload: str, shared_x: Buffer | bytes) -> str:
    """Return the plaintext of `base64?iv=base64`; raises CryptoError."""
    if len(payload) > MAX_PAYLOAD:
        raise CryptoError
    ciphertext_text, separator, iv_text = payload.strip().partition("?iv=")
    if not separator:
        raise CryptoError
    try:
        ciphertext = b64decode(ciphertext_text, validate=True)
        iv = b64decode(iv_text, validate=True)
        decryptor = Cipher(AES256(shared_x), CBC(iv)).decryptor()
        padded = decryptor.update(ciphertext) + decryptor.finalize()
        unpadder = PKCS7(_BLOCK_BITS).unpadder()
        return (unpadder.update(padded) + unpadder.finalize()).decode()
    except (ValueError, Base64Error):  # also UnicodeDecodeError: one answer for every failure
        raise CryptoError from None
