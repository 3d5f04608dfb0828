"""A push service as Firefox knows them: one WebSocket to the browser, a POST from who pushes."""

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

_PROTOCOL: Final = Subprotocol("push-notification")


class Autopush:
    """Where it listens, and what Firefox has to be told of it."""

    def __init__(self) -> None:
        self.origin = ""
        self.preferences = ""
        self._browser: ServerConnection | None = None

    async def speak(self, browser: ServerConnection) -> None:
        """Greet a browser, and give it an endpoint for every channel."""
        self._browser = browser
        async for frame in browser:
            said = json.loads(frame)
            match said.get("messageType"):
                case "hello":
                    answer = {"uaid": said.get("uaid") or uuid.uuid4().hex, "use_webpush": True}
                case "register":
                    answer = {"pushEndpoint": f"{self.origin}/{said['channelID']}"}
                case "unregister":
                    answer = {}
                case _:
                    continue
            await browser.send(json.dumps({**said, "status": 200, **answer}))

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass a push on to the browser, unread: it is encrypted for it."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])
        }
        body = await reader.readexactly(int(headers["content-length"]))
        told = {
            "messageType": "notification",
            "channelID": head[0].split()[1].removeprefix("/"),
            "version": uuid.uuid4().hex,
            "data": base64.urlsafe_b64encode(body).rstrip(b"=").decode(),
            "headers": {"encoding": headers["content-encoding"]},
        }
        assert self._browser is not None
        await self._browser.send(json.dumps(told))
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()


@asynccontextmanager
async def autopush() -> AsyncIterator[Autopush]:
    """Run one on two free ports, without TLS."""
    service = Autopush()
    posts = await asyncio.start_server(service.take, "127.0.0.1", 0)
    async with posts, serve(service.speak, "127.0.0.1", 0, subprotocols=[_PROTOCOL]) as browsers:
        service.origin = f"http://127.0.0.1:{posts.sockets[0].getsockname()[1]}"
        port = next(iter(browsers.sockets)).getsockname()[1]
        service.preferences = f"""
user_pref("dom.push.serverURL", "ws://127.0.0.1:{port}/");
user_pref("dom.push.testing.allowInsecureServerURL", true);
user_pref("dom.push.connection.enabled", true);
user_pref("permissions.default.desktop-notification", 1);
user_pref("alerts.useSystemBackend", false);
"""
        yield service
