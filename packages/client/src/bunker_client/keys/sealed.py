"""A client key under a master key, in the format of the NSE's version 1, which the NSE opens.

The file says in the clear whose key it is; the key is AES-256-GCM ciphertext. Written here and
not shared with the signer, which this package does not need: it is nine fields and one cipher.
"""

import os
import time
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bunker_client.errors import SessionError
from bunker_core.errors import InvalidKey
from bunker_core.event import is_hex
from bunker_core.keys import SecretKey, wipe
from bunker_core.nips.nip19 import encode_npub

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16


def seal(key: SecretKey, master_key: bytearray) -> dict[str, Any]:
    """Return `key` sealed under the 32-byte `master_key`, as a JSON object."""
    nonce = os.urandom(_NONCE_BYTES)  # random: a master key seals a handful of sessions
    secret = bytearray(KEY_BYTES)
    try:
        key.copy_secret(secret)
        ciphertext = AESGCM(master_key).encrypt(nonce, secret, None)
    finally:
        wipe(secret)
    return {
        "version": 1,
        "ciphertext": ciphertext.hex(),
        "iv": nonce.hex(),
        "pubkey": key.pubkey,
        "npub": encode_npub(key.pubkey),
        "created_at": int(time.time()),
        "hardware_backed": False,
    }


def unseal(blob: object, master_key: bytearray) -> SecretKey:
    """Return the key in `blob`; raises SessionError."""
    if not isinstance(blob, dict) or blob.get("version") != 1:
        raise SessionError("the session is damaged: no sealed key")
    nonce, ciphertext = blob.get("iv"), blob.get("ciphertext")
    if not is_hex(nonce, 2 * _NONCE_BYTES) or not is_hex(ciphertext, 2 * (KEY_BYTES + _TAG_BYTES)):
        raise SessionError("the session is damaged: the sealed key has the wrong length")
    secret = bytearray(KEY_BYTES)
    try:
        AESGCM(master_key).decrypt_into(
            bytes.fromhex(str(nonce)), bytes.fromhex(str(ciphertext)), None, secret
        )
        key = SecretKey(secret)
    except (InvalidTag, InvalidKey, ValueError):
        raise SessionError(
            "the session can't be opened: wrong master key, or the file was changed"
        ) from None
    finally:
        wipe(secret)
    if key.pubkey != blob.get("pubkey"):  # version 1 binds nothing else to the ciphertext
        raise SessionError("the session is damaged: the sealed key is another one's")
    return key
