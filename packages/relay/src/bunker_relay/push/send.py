"""The request to a push service: HTTP/1.1 over TLS, to public addresses alone, bounded.

Whoever may register a subscription chooses where this relay connects to. So a name is resolved
once, and the connection goes to the very address that `webpush.address_of` has looked at.
"""

import asyncio
import ssl
from typing import Final
from urllib.parse import urlsplit

from bunker_core.errors import InvalidInput
from bunker_core.nips import webpush

TIMEOUT: Final = 10.0  # seconds for all of it
_HEAD: Final = 16_384  # bytes of an answer that are read


class PushFailed(Exception):
    """The push service was not reached, or does not speak HTTP."""


async def post(url: str, headers: dict[str, str], body: bytes, *, private: bool) -> int:
    """Send a push; return the status. Raises PushFailed."""
    parts = urlsplit(url)
    host, tls = parts.hostname or "", parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    try:
        async with asyncio.timeout(TIMEOUT):
            address = await _resolve(host, port, private=private)
            reader, writer = await asyncio.open_connection(
                address,
                port,
                ssl=ssl.create_default_context() if tls else None,
                server_hostname=host if tls else None,
                limit=_HEAD,
            )
            try:
                path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                lines = [f"POST {path} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
                lines += [f"{name}: {value}" for name, value in headers.items()]
                lines += [f"Content-Length: {len(body)}", "", ""]
                writer.write("\r\n".join(lines).encode("latin-1") + body)
                status = (await reader.readuntil(b"\r\n")).split(b" ", 2)
            finally:
                writer.close()
    except TimeoutError:
        raise PushFailed(f"{host} did not answer within {TIMEOUT:.0f} s") from None
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise PushFailed(f"{host}: {getattr(error, 'strerror', None) or 'no answer'}") from None
    if len(status) < 2 or not status[0].startswith(b"HTTP/1.") or not status[1].isdigit():
        raise PushFailed(f"{host} does not speak HTTP")
    return int(status[1])


async def _resolve(host: str, port: int, *, private: bool) -> str:
    """Return an address of `host`; raises PushFailed when one of them is not public."""
    loop = asyncio.get_running_loop()
    found = {str(item[4][0]) for item in await loop.getaddrinfo(host, port, type=1)}
    try:
        return webpush.address_of(host, found, private=private)
    except InvalidInput as error:
        raise PushFailed(str(error)) from None
