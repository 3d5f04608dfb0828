"""JSON documents over HTTP: NIP-11's relay document, NIP-05's nostr.json."""

import asyncio
import http.client
import io
import ssl
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from bunker_core.errors import PoolError

FETCH_TIMEOUT: Final = 10.0  # seconds
MAX_BYTES: Final = 256 * 1024
RELAY_DOCUMENT: Final = "application/nostr+json"  # NIP-11


@dataclass(frozen=True, slots=True)
class Fetched:
    """A JSON document and the Date of its server."""

    value: Any
    date: str | None


async def fetch_json(
    url: str, *, accept: str = "application/json", timeout: float = FETCH_TIMEOUT
) -> Fetched:
    """Return the document at an http:// or https:// `url`; raises PoolError.

    Redirects are not followed (NIP-05: fetchers MUST ignore them), no proxy of the environment is
    used, and all of it, trickling bytes included, is over after `timeout` seconds.
    """
    try:
        async with asyncio.timeout(timeout):
            response, body = _parse(await _get(url, accept))
    except TimeoutError:
        raise PoolError(f"{url}: no answer within {timeout:g} s") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise PoolError(f"{url}: {error}") from None
    if response.status != 200:
        raise PoolError(f"{url}: HTTP status {response.status}")
    try:
        return Fetched(orjson.loads(body), response.headers.get("Date"))
    except orjson.JSONDecodeError:
        raise PoolError(f"{url}: not JSON") from None


async def fetch_max_message_length(relay_url: str, timeout: float) -> int | None:
    """Return the `max_message_length` of a relay's document (NIP-11), None if it names none."""
    try:
        url = relay_url.replace("ws", "http", 1)
        document = (await fetch_json(url, accept=RELAY_DOCUMENT, timeout=timeout)).value
    except PoolError:
        return None
    limits = document.get("limitation") if isinstance(document, dict) else None
    value = limits.get("max_message_length") if isinstance(limits, dict) else None
    return value if type(value) is int and value > 0 else None


async def _get(url: str, accept: str) -> bytes:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not a web address")
    secure = parts.scheme == "https"
    context = ssl.create_default_context() if secure else None
    port = parts.port or (443 if secure else 80)
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [
            f"GET {target} HTTP/1.1",
            f"Host: {parts.netloc.rpartition('@')[2]}",
            f"Accept: {accept}",
            "User-Agent: nostr-bunker",
            "Connection: close",
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        data = bytearray()
        while piece := await reader.read(65536):
            data += piece
            if len(data) > MAX_BYTES:
                raise OSError("the document is too large")
        return bytes(data)
    finally:
        writer.transport.abort()


def _parse(data: bytes) -> tuple[http.client.HTTPResponse, bytes]:
    response = http.client.HTTPResponse(_Bytes(data))  # type: ignore[arg-type]
    response.begin()
    return response, response.read()


class _Bytes:
    """What was read, as the socket that `http.client` reads from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._data)
