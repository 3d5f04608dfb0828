"""One push message: encrypted for the browser (RFC 8291, RFC 8188), signed by us (RFC 8292).

It says nothing but why it comes: the request itself stays at the relay.
"""

import base64
import json
import os
import struct
from typing import Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

POINT_BYTES: Final = 65
AUTH_BYTES: Final = 16
PADDED: Final = 32  # bytes of every message: its length says nothing either
_RECORD: Final = 4096
_LIFETIME: Final = 12 * 3600  # seconds; RFC 8292 allows a day
_CURVE: Final = ec.SECP256R1()


def encrypt(
    message: bytes,
    p256dh: bytes,
    auth: bytes,
    *,
    salt: bytes | None = None,
    key: ec.EllipticCurvePrivateKey | None = None,
    padded: int = PADDED,
) -> bytes:
    """Return the body of a push (`aes128gcm`) of at most `padded` bytes of message.

    `p256dh` is the browser's public key, `auth` its secret. `salt` and `key` are fresh unless a
    test vector gives them. Raises ValueError for a key that is no point.
    """
    key = key or ec.generate_private_key(_CURVE)
    salt = os.urandom(16) if salt is None else salt
    peer = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, p256dh)
    ours = public_bytes(key)
    shared = key.exchange(ec.ECDH(), peer)
    secret = _hkdf(auth, b"WebPush: info\0" + p256dh + ours, 32, shared)
    content_key = _hkdf(salt, b"Content-Encoding: aes128gcm\0", 16, secret)
    nonce = _hkdf(salt, b"Content-Encoding: nonce\0", 12, secret)
    record = message + b"\x02" + bytes(max(0, padded - len(message)))
    sealed = AESGCM(content_key).encrypt(nonce, record, None)
    return salt + struct.pack("!IB", _RECORD, POINT_BYTES) + ours + sealed


def vapid(endpoint: str, key: ec.EllipticCurvePrivateKey, contact: str, now: int) -> str:
    """Return the Authorization header that says who pushes; `contact` is mailto: or https:."""
    parts = urlsplit(endpoint)
    claims = {"aud": f"{parts.scheme}://{parts.netloc}", "exp": now + _LIFETIME, "sub": contact}
    head = _base64(b'{"typ":"JWT","alg":"ES256"}')
    signed = f"{head}.{_base64(json.dumps(claims).encode())}"
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(SHA256())))
    signature = _base64(r.to_bytes(32) + s.to_bytes(32))
    return f"vapid t={signed}.{signature}, k={_base64(public_bytes(key))}"


def public_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the uncompressed point of a key: what a browser subscribes with."""
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def new_key(secret: int | None = None) -> ec.EllipticCurvePrivateKey:
    """Return a fresh key, or the one that `secret` was kept of."""
    return (
        ec.generate_private_key(_CURVE) if secret is None else ec.derive_private_key(secret, _CURVE)
    )


def decode(text: str) -> bytes:
    """Return the bytes of base64url without padding; raises ValueError."""
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def encode(data: bytes) -> str:
    """Return base64url without padding."""
    return _base64(data)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _hkdf(salt: bytes, info: bytes, length: int, secret: bytes) -> bytes:
    return HKDF(SHA256(), length, salt, info).derive(secret)
