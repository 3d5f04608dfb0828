"""The addresses at which a relay is found: several, with a path, IPv4 on a socket for both."""

import socket

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from bunker_core.keys import SecretKey
from relay.support.admin import ADMIN, RPC, authorization
from support.wire import Peer, Start


async def test_ipv4_on_a_socket_for_both(start: Start) -> None:
    """With --host :: an AUTH over IPv4 names the IPv4 address, as the client sees it."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    relay = start("--host", "::")
    key = SecretKey.generate()
    for host in ("127.0.0.1", "[::1]", "localhost"):
        async with Peer(f"ws://{host}:{relay.port}") as peer:
            assert await peer.authenticate(key) == (True, "")


async def test_several_addresses_and_a_path(start: Start) -> None:
    """AUTH may name each; the path of one is served, with NIP-11 and NIP-86 at it."""
    config = 'url = ["wss://relay.example.com/nostr", "ws://relay.onion"]'
    relay = start("--admin", ADMIN.pubkey, config=config)
    key = SecretKey.generate()
    async with Peer(f"{relay.url}/nostr") as peer:
        challenge = await peer.hear_challenge()
        for url in ("wss://relay.example.com/nostr", "ws://relay.onion/", f"{relay.url}/nostr"):
            tags = (("relay", url), ("challenge", challenge))
            assert await peer.authenticate(key, tags=tags) == (True, "")
        tags = (("relay", "wss://relay.example.com/other"), ("challenge", challenge))
        assert not (await peer.authenticate(key, tags=tags))[0]
    with pytest.raises(InvalidStatus):
        async with Peer(f"{relay.url}/other"):
            pass
    async with httpx.AsyncClient() as http:
        url = f"{relay.http_url}/nostr"
        accept = {"Accept": "application/nostr+json"}
        assert "version" in (await http.get(url, headers=accept)).json()
        body = b'{"method":"supportedmethods","params":[]}'
        headers = {"Content-Type": RPC, "Authorization": authorization(body, url)}
        assert (await http.post(url, content=body, headers=headers)).status_code == 200


def test_media_types(start: Start) -> None:
    """A charset in a call's type changes nothing; who asks for JSON gets no page."""
    relay = start("--admin", ADMIN.pubkey)
    body = b'{"method":"supportedmethods","params":[]}'
    header = authorization(body, relay.http_url)
    headers = {"Content-Type": f"{RPC}; charset=utf-8", "Authorization": header}
    assert httpx.post(relay.http_url, content=body, headers=headers).status_code == 200
    reply = httpx.get(relay.http_url, headers={"Accept": "application/json"})
    assert reply.headers["content-type"] == "application/json"
    assert 11 in reply.json()["supported_nips"]
    reply = httpx.get(relay.http_url, headers={"Accept": "text/html,application/json"})
    assert reply.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("plain", [False, True])
async def test_a_subprotocol_is_granted(start: Start, plain: bool) -> None:
    """Chromium fails a connection that asked for one and got none."""
    relay = start(config="plain = true" if plain else "")
    asked = [Subprotocol("nostr"), Subprotocol("other")]
    async with connect(relay.url, subprotocols=asked, proxy=None) as client:
        assert client.subprotocol == "nostr"
