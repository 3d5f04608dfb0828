"""The relay's address over HTTP: NIP-11, a page for people, and requests that are none."""

import asyncio
import socket

import httpx
import pytest

from bunker_core.keys import SecretKey
from support.wire import PATIENCE, Peer, RelayProcess, note

DOCUMENT = {"Accept": "application/nostr+json"}


@pytest.fixture
def http_url(relay_url: str) -> str:
    """The relay's address as a browser writes it."""
    return relay_url.replace("ws://", "http://").replace("wss://", "https://")


def test_the_document(http_url: str) -> None:
    """NIP-11: on the relay's own address, for clients of any origin."""
    reply = httpx.get(http_url, headers=DOCUMENT)
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("application/nostr+json")
    assert reply.headers["access-control-allow-origin"] == "*"
    document = reply.json()
    assert {1, 11} <= set(document["supported_nips"])
    assert len(document["name"]) <= 30


def test_the_document_names_every_limit(http_url: str, own: RelayProcess) -> None:
    """All the words that NIP-11 has for limits are there, but one that would say no limit."""
    limitation = httpx.get(http_url, headers=DOCUMENT).json()["limitation"]
    assert set(limitation) == {
        "max_message_length", "max_subscriptions", "max_limit", "default_limit", "max_subid_length",
        "max_event_tags", "max_content_length", "min_pow_difficulty", "auth_required",
        "payment_required", "restricted_writes", "created_at_upper_limit",
    }  # fmt: skip


def test_preflight(http_url: str) -> None:
    """A browser may ask before it asks."""
    reply = httpx.options(http_url)
    assert reply.status_code in (200, 204)
    for name in ("origin", "headers", "methods"):
        assert reply.headers[f"access-control-allow-{name}"]


def test_the_page_for_people(http_url: str, own: RelayProcess) -> None:
    """A browser sees a page without script or anything from elsewhere."""
    reply = httpx.get(http_url, headers={"Accept": "text/html,*/*"})
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert "<script" not in reply.text.lower()
    assert "http" not in reply.text.replace(http_url, "")
    assert "relay" in reply.text.lower()


def test_other_methods_and_paths(http_url: str) -> None:
    """POST without a call is 405; what is not there is 404, however it is spelled."""
    assert httpx.post(http_url, content="x").status_code == 405
    assert httpx.delete(http_url).status_code == 405
    for path in ("/nothing", "/../etc/passwd", "/%2e%2e/etc/passwd", "/.env"):
        assert httpx.get(http_url + path).status_code == 404


async def _raw(own: RelayProcess, data: bytes) -> bytes:
    """Send bytes to the relay's port and return what it answers until it closes."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", own.port)
        try:
            writer.write(data)
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X-Header: x\r\n" * 10_000 + b"\r\n",
        b"\x00\xff" * 1000,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 99\r\nSec-WebSocket-Key: x\r\n\r\n",
    ],
    ids=["long URL", "many headers", "no HTTP", "HTTP/9.9", "no key", "bad version"],
)
async def test_requests_that_are_none_are_cut_off(own: RelayProcess, data: bytes) -> None:
    """They are answered with an error or closed, and the relay goes on."""
    reply = await _raw(own, data)
    assert reply == b"" or reply.startswith(b"HTTP/1.1 4"), reply[:80]
    async with Peer(own.url) as peer:
        assert (await peer.publish(note(SecretKey.generate())))[0]


async def test_half_open_handshakes_block_nobody(own: RelayProcess) -> None:
    """Two hundred clients that never finish their request: the next one is served at once."""
    sockets = [socket.create_connection(("127.0.0.1", own.port)) for _ in range(200)]
    try:
        for half_open in sockets:
            half_open.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        async with Peer(own.url) as peer:
            assert (await peer.publish(note(SecretKey.generate())))[0]
    finally:
        for half_open in sockets:
            half_open.close()


async def test_only_one_path_is_a_relay(own: RelayProcess) -> None:
    """NIP-01: where further path segments mean nothing, they are not accepted."""
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus):
        async with Peer(own.url + "/more"):
            pass
