"""Web Push: a message to one browser, encrypted for it, over the push service that it named.

RFC 8291 (encryption) over RFC 8188 (aes128gcm), RFC 8292 (VAPID: who sends), RFC 8030 (delivery).
The push service learns that something happens, when, and how long it is; not what.
"""

import base64
import json
import os
import socket
import ssl
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bunker_core.errors import BunkerError

RECORD: Final = 4096  # bytes: what every push service takes (RFC 8030, section 7.2)
MAX_MESSAGE: Final = 3000  # bytes
MAX_ENDPOINT: Final = 1024  # characters
TIMEOUT: Final = 10.0  # seconds for each step of a delivery
TOKEN_LIFETIME: Final = 12 * 3600  # seconds; RFC 8292 allows 24 hours
_GONE: Final = (404, 410)
_CURVE: Final = ec.SECP256R1()


class PushError(BunkerError):
    """A push could not be sent; the text says why."""


class SubscriptionGone(PushError):
    """The browser wants no more: the subscription is to be forgotten."""


@dataclass(frozen=True, slots=True)
class PushTarget:
    """A browser's PushSubscription. `key` is its P-256 point (65 bytes), `secret` 16 bytes."""

    endpoint: str
    key: bytes = field(repr=False)
    secret: bytes = field(repr=False)


def parse_target(endpoint: str, key: str, secret: str, allowed: Collection[str] = ()) -> PushTarget:
    """Read what a browser gave; raises PushError.

    The endpoint has to be https, unless its origin is `allowed`: that is for a push service of
    the owner's own.
    """
    parts = urlsplit(endpoint)
    origin = f"{parts.scheme}://{parts.netloc}"
    if len(endpoint) > MAX_ENDPOINT or not endpoint.isascii() or not endpoint.isprintable():
        raise PushError("the push service's address can't be read")
    if origin not in allowed and (parts.scheme != "https" or not parts.hostname or parts.username):
        raise PushError("the push service's address is not https")
    try:
        target = PushTarget(endpoint, decode(key), decode(secret))
        ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, target.key)
    except ValueError:
        raise PushError("the browser's push key can't be read") from None
    if len(target.secret) != 16 or len(target.key) != 65:
        raise PushError("the browser's push key can't be read")
    return target


def encrypt(
    message: bytes,
    target: PushTarget,
    *,
    key: ec.EllipticCurvePrivateKey | None = None,
    salt: bytes | None = None,
) -> bytes:
    """Return the body of a push: one record of aes128gcm. `key` and `salt` are fresh each time."""
    if len(message) > MAX_MESSAGE:
        raise PushError(f"a push holds {MAX_MESSAGE} bytes")
    key = key or ec.generate_private_key(_CURVE)
    salt = salt or os.urandom(16)
    public = point(key.public_key())
    theirs = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, target.key)
    shared = key.exchange(ec.ECDH(), theirs)
    info = b"WebPush: info\x00" + target.key + public
    material = _hkdf(target.secret, shared, info, 32)
    content_key = _hkdf(salt, material, b"Content-Encoding: aes128gcm\x00", 16)
    # One record alone, and a fresh key for each message: the nonce is used once.
    nonce = _hkdf(salt, material, b"Content-Encoding: nonce\x00", 12)
    sealed = AESGCM(content_key).encrypt(nonce, message + b"\x02", None)
    return salt + RECORD.to_bytes(4, "big") + bytes([len(public)]) + public + sealed


def authorization(endpoint: str, key: ec.EllipticCurvePrivateKey, subject: str, now: int) -> str:
    """Return the Authorization header that names the sender to a push service (RFC 8292)."""
    parts = urlsplit(endpoint)
    claims = {"aud": f"{parts.scheme}://{parts.netloc}", "exp": now + TOKEN_LIFETIME}
    if subject:
        claims["sub"] = subject
    head = encode(json.dumps({"typ": "JWT", "alg": "ES256"}).encode())
    unsigned = f"{head}.{encode(json.dumps(claims).encode())}"
    r, s = decode_dss_signature(key.sign(unsigned.encode(), ec.ECDSA(hashes.SHA256())))
    signature = encode(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
    return f"vapid t={unsigned}.{signature}, k={encode(point(key.public_key()))}"


def deliver(
    target: PushTarget,
    body: bytes,
    headers: dict[str, str],
    allowed: Collection[str] = (),
    resolve: Callable[..., list[tuple[object, ...]]] = socket.getaddrinfo,  # type: ignore[assignment]
) -> None:
    """Send a push, in a thread: it blocks. Raises PushError and SubscriptionGone.

    The name is looked up once, and only a public address is connected to: who made up an endpoint
    must not reach into the owner's network through the signer. No redirect is followed.
    """
    parts = urlsplit(target.endpoint)
    origin = f"{parts.scheme}://{parts.netloc}"
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = parts.hostname or ""
    try:
        address = str(resolve(host, port, type=socket.SOCK_STREAM)[0][4][0])  # type: ignore[index]
        if origin not in allowed and not ip_address(address.partition("%")[0]).is_global:
            raise PushError(f"{host} is no public address")
        connection = _connection(parts.scheme, host, port, address)
        try:
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", path or "/", body, headers)
            status = connection.getresponse().status
        finally:
            connection.close()
    except (OSError, HTTPException, ValueError, IndexError) as error:
        raise PushError(f"{host}: {type(error).__name__}") from None
    if status in _GONE:
        raise SubscriptionGone(f"{host}: the browser wants no more")
    if not 200 <= status < 300:
        raise PushError(f"{host} answered {status}")


def point(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return a P-256 public key as 65 bytes, uncompressed."""
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def encode(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Read base64url, padded or not; raises ValueError."""
    bare = text.rstrip("=")
    return base64.b64decode(bare + "=" * (-len(bare) % 4), b"-_", validate=True)


def _connection(scheme: str, host: str, port: int, address: str) -> HTTPConnection:
    """Return a connection to `address` that speaks to `host`."""
    connection: HTTPConnection
    raw = socket.create_connection((address, port), TIMEOUT)
    if scheme == "https":
        context = ssl.create_default_context()
        connection = HTTPSConnection(host, port, timeout=TIMEOUT)
        raw = context.wrap_socket(raw, server_hostname=host)
    else:
        connection = HTTPConnection(host, port, timeout=TIMEOUT)
    connection.sock = raw
    return connection


def _hkdf(salt: bytes, material: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(material)
