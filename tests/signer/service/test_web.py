"""/healthz: what a monitor learns when something is wrong."""

import asyncio
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from bunker.harness import running_relay
from bunker_signer.service.listener import MOST_EACH
from bunker_signer.service.web import create_app, serving
from bunker_signer.store import StoreError
from signer.request.support.rig import rig


async def get(url: str) -> tuple[int, str]:
    """Return status and body."""

    def fetch() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(fetch)


async def test_health_without_a_relay(data: Path, tmp_path: Path) -> None:
    """503 as soon as no relay brings requests, and it says which."""
    async with (
        running_relay(tmp_path / "relay") as relay,
        rig(relay.url, data) as signer,
        serving(create_app(signer.agent, lambda: 0), "127.0.0.1:0") as url,
    ):
        assert (await get(f"{url}/healthz"))[0] == 200
        await relay.kill()
        async with asyncio.timeout(10):
            while (answer := await get(f"{url}/healthz"))[0] == 200:
                pass
        body: Any = json.loads(answer[1])
        assert (answer[0], body["status"]) == (503, "failed")
        assert (body["relays"], body["database"]) == ({relay.url: False}, "ok")
        assert "bunker_signer_relays 0.0" in (await get(f"{url}/metrics"))[1]


async def test_health_without_the_database(relay_url: str, data: Path) -> None:
    """503 when nothing can be written down, though the relay is there."""
    async with (
        rig(relay_url, data) as signer,
        serving(create_app(signer.agent, lambda: 0), "127.0.0.1:0") as url,
    ):

        def broken() -> None:
            raise StoreError("gone")

        signer.agent.database.read = broken  # type: ignore[method-assign, assignment]
        status, text = await get(f"{url}/healthz")
        body: Any = json.loads(text)
        assert (status, body["database"], body["status"]) == (503, "failed", "failed")
        assert body["relays"] == {relay_url: True}


async def test_a_request_for_a_websocket_takes_no_place(relay_url: str, data: Path) -> None:
    """It is answered, and its connection counts for nobody when it has gone."""
    request = (
        "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    async with (
        rig(relay_url, data) as signer,
        serving(create_app(signer.agent, lambda: 0), "127.0.0.1:0") as url,
    ):
        port = int(url.rpartition(":")[2])
        for _ in range(MOST_EACH + 1):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            async with asyncio.timeout(10):
                writer.write(request.encode())
                assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
                writer.close()
                await writer.wait_closed()
        assert (await get(f"{url}/healthz"))[0] == 200
