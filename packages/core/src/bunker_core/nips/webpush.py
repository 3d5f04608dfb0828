"""One Web Push message: encrypted for the browser (RFC 8291, RFC 8188), signed by us (RFC 8292).

The push service learns that something happens, when, and how long it is; not what. Pure: who sends
it asks here where it may go. Whoever registers a browser chooses that, so it must not lead into the
sender's own network. The cryptography, a megabyte that nothing else here uses, is loaded with the
first key.
"""

import base64
import ipaddress
import json
import os
import struct
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from bunker_core.errors import InvalidInput

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

POINT_BYTES: Final = 65
AUTH_BYTES: Final = 16
MAX_MESSAGE: Final = 3000  # bytes, padding included
MAX_ENDPOINT: Final = 1024  # characters; those in the field have 200 to 500
GONE: Final = (404, 410)  # RFC 8030: the browser wants no more, the subscription is to be forgotten
TOKEN_LIFETIME: Final = 12 * 3600  # seconds; RFC 8292 allows 24 hours
_RECORD: Final = 4096  # bytes: what every push service takes (RFC 8030, section 7.2)


@dataclass(frozen=True, slots=True)
class PushTarget:
    """A browser's PushSubscription. `key` is its P-256 point (65 bytes), `secret` 16 bytes."""

    endpoint: str = field(repr=False)  # whoever has it can bother its owner
    key: bytes = field(repr=False)
    secret: bytes = field(repr=False)


def parse_target(endpoint: object, key: object, secret: object, *, plain: bool) -> PushTarget:
    """Read what a browser says of itself, the keys as base64url; raises InvalidInput.

    `plain` lets the push service be without TLS.
    """
    try:
        if not isinstance(endpoint, str) or not isinstance(key, str) or not isinstance(secret, str):
            raise ValueError
        parts = urlsplit(endpoint)
        target = PushTarget(endpoint, decode(key), decode(secret))
        port = parts.port
    except ValueError:
        raise InvalidInput("not a push subscription") from None
    if len(endpoint) > MAX_ENDPOINT or not endpoint.isascii() or not endpoint.isprintable():
        raise InvalidInput(f"the endpoint is longer than {MAX_ENDPOINT} characters or odd")
    if parts.scheme != "https" and not (plain and parts.scheme == "http"):
        raise InvalidInput("the endpoint is not an https address")
    if not parts.hostname or parts.username is not None or " " in endpoint or port == 0:
        raise InvalidInput("the endpoint is no address of a push service")
    try:
        check_keys(target.key, target.secret)
    except ValueError:
        raise InvalidInput("the keys are not those of a push subscription") from None
    return target


def address_of(host: str, found: Collection[str], *, private: bool) -> str:
    """Return which of the addresses of `host` to connect to; raises InvalidInput.

    Every one of them has to be public, unless `private` lets it be the sender's own network.
    """
    if not private and not all(map(_is_public, found)):
        raise InvalidInput(f"{host} is an address within a network, not a push service")
    return min(found, key=lambda address: ":" in address)  # IPv4 first: it is everywhere


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_global and not parsed.is_multicast


def headers(
    endpoint: str,
    key: "ec.EllipticCurvePrivateKey",
    contact: str,
    now: int,
    *,
    ttl: int,
    topic: str,
) -> dict[str, str]:
    """Return the headers of a push that is kept for `ttl` seconds; the rest as for `vapid`.

    One that was not fetched is replaced by the next of the same `topic` (of 32 characters).
    """
    return {
        "Authorization": vapid(endpoint, key, contact, now),
        "Content-Encoding": "aes128gcm",
        "Content-Type": "application/octet-stream",
        "TTL": str(ttl),
        "Urgency": "high",
        "Topic": topic,
    }


def encrypt(
    message: bytes,
    p256dh: bytes,
    auth: bytes,
    *,
    padded: int = 0,
    key: "ec.EllipticCurvePrivateKey | None" = None,
    salt: bytes | None = None,
) -> bytes:
    """Return the body of a push: one record of `aes128gcm`.

    `p256dh` is the browser's public key (65 bytes), `auth` its secret (16 bytes). Messages of at
    most `padded` bytes have one length. `key` and `salt` are fresh unless a test vector gives
    them. Raises ValueError for a key that is no point, and for more than MAX_MESSAGE bytes.
    """
    if max(len(message), padded) > MAX_MESSAGE:
        raise ValueError(f"a push holds {MAX_MESSAGE} bytes")
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    key = key or new_key()
    salt = os.urandom(16) if salt is None else salt
    peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), p256dh)
    ours = public_bytes(key)
    secret = _hkdf(auth, b"WebPush: info\0" + p256dh + ours, 32, key.exchange(ec.ECDH(), peer))
    content_key = _hkdf(salt, b"Content-Encoding: aes128gcm\0", 16, secret)
    # One record alone, and a fresh key for each message: the nonce is used once.
    nonce = _hkdf(salt, b"Content-Encoding: nonce\0", 12, secret)
    record = message + b"\x02" + bytes(max(0, padded - len(message)))
    sealed = AESGCM(content_key).encrypt(nonce, record, None)
    return salt + struct.pack("!IB", _RECORD, POINT_BYTES) + ours + sealed


def vapid(endpoint: str, key: "ec.EllipticCurvePrivateKey", contact: str, now: int) -> str:
    """Return the Authorization header that says who pushes (RFC 8292).

    `contact` is mailto: or https:, or "" for none; `now` is Unix seconds.
    """
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    parts = urlsplit(endpoint)
    claims = {"aud": f"{parts.scheme}://{parts.netloc}", "exp": now + TOKEN_LIFETIME}
    if contact:
        claims["sub"] = contact
    head = encode(b'{"typ":"JWT","alg":"ES256"}')
    unsigned = f"{head}.{encode(json.dumps(claims).encode())}"
    r, s = decode_dss_signature(key.sign(unsigned.encode(), ec.ECDSA(SHA256())))
    signature = encode(r.to_bytes(32) + s.to_bytes(32))
    return f"vapid t={unsigned}.{signature}, k={encode(public_bytes(key))}"


def check_keys(p256dh: bytes, auth: bytes) -> None:
    """Raise ValueError unless these are the keys of a PushSubscription."""
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), p256dh)
    except ValueError:
        p256dh = b""
    if len(p256dh) != POINT_BYTES or len(auth) != AUTH_BYTES:
        raise ValueError("not the keys of a push subscription")


def new_key(secret: int | None = None) -> "ec.EllipticCurvePrivateKey":
    """Return a fresh key, or the one that `secret` was kept of."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return (
        ec.generate_private_key(ec.SECP256R1())
        if secret is None
        else ec.derive_private_key(secret, ec.SECP256R1())
    )


def public_bytes(key: "ec.EllipticCurvePrivateKey") -> bytes:
    """Return the uncompressed point of a key (65 bytes): what a browser subscribes with."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def encode(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Read base64url, padded or not; raises ValueError."""
    bare = text.rstrip("=")
    return base64.b64decode(bare + "=" * (-len(bare) % 4), b"-_", validate=True)


def _hkdf(salt: bytes, info: bytes, length: int, secret: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), length, salt, info).derive(secret)
