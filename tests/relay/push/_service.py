"""A push service on this machine, and a browser's half of a subscription."""

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bunker_core.event import EventTemplate, sign_event
from bunker_core.keys import SecretKey
from bunker_core.kinds import HTTP_AUTH
from bunker_core.nips.webpush import decode, encode, new_key, public_bytes


@dataclass(slots=True)
class Browser:
    """What a browser keeps of a subscription."""

    endpoint: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    auth: bytes = field(default_factory=lambda: os.urandom(16))

    def subscription(self) -> dict[str, Any]:
        """Return `PushSubscription.toJSON()`."""
        keys = {"p256dh": encode(public_bytes(self.key)), "auth": encode(self.auth)}
        return {"endpoint": self.endpoint, "keys": keys}

    def open(self, body: bytes) -> bytes:
        """Decrypt a push (RFC 8291) as a browser does."""
        salt, ours = body[:16], body[21:86]
        shared = self.key.exchange(
            ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), ours)
        )
        info = b"WebPush: info\0" + public_bytes(self.key) + ours
        secret = HKDF(SHA256(), 32, self.auth, info).derive(shared)
        key = HKDF(SHA256(), 16, salt, b"Content-Encoding: aes128gcm\0").derive(secret)
        nonce = HKDF(SHA256(), 12, salt, b"Content-Encoding: nonce\0").derive(secret)
        record = AESGCM(key).decrypt(nonce, body[86:], None).rstrip(b"\0")
        assert record[-1:] == b"\x02"
        return record[:-1]


@dataclass(slots=True)
class Service:
    """What came, in order; `status` is what is answered."""

    url: str
    status: int = 201
    pushes: "asyncio.Queue[tuple[dict[str, str], bytes]]" = field(default_factory=asyncio.Queue)


@asynccontextmanager
async def push_service() -> AsyncIterator[Service]:
    """Run a push service on a free port, without TLS."""
    service = Service("")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])
        }
        body = await reader.readexactly(int(headers["content-length"]))
        headers["path"] = head[0].split()[1]
        writer.write(f"HTTP/1.1 {service.status} Said\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()
        service.pushes.put_nowait((headers, body))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield service


def nip98(key: SecretKey, url: str, method: str, body: bytes, now: int) -> dict[str, str]:
    """Return the header that authorizes a call."""
    tags = (("u", url), ("method", method), ("payload", sha256(body).hexdigest()))
    event = sign_event(EventTemplate(HTTP_AUTH, os.urandom(4).hex(), tags, now), key)
    return {"Authorization": "Nostr " + base64.b64encode(event.to_json()).decode()}


def check_vapid(header: str, audience: str) -> dict[str, Any]:
    """Verify an ES256 token (RFC 8292); return its claims."""
    scheme, _, rest = header.partition(" ")
    assert scheme == "vapid"
    parts = dict(item.strip().split("=", 1) for item in rest.split(","))
    head, claims, signature = parts["t"].split(".")
    assert json.loads(decode(head)) == {"typ": "JWT", "alg": "ES256"}
    raw = decode(signature)
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decode(parts["k"]))
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    key.verify(der, f"{head}.{claims}".encode(), ec.ECDSA(SHA256()))
    found: dict[str, Any] = json.loads(decode(claims))
    assert found["aud"] == audience
    return found
