"""Where a browser is woken: the push service that it named, and only a public one (RFC 8030)."""

import socket
import ssl
from collections.abc import Callable, Collection
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit

from bunker_core.errors import BunkerError, InvalidInput
from bunker_core.nips import webpush
from bunker_core.nips.webpush import PushTarget

TIMEOUT: Final = 10.0  # seconds for each step of a delivery


class PushError(BunkerError):
    """A push could not be sent; the text says why."""


class SubscriptionGone(PushError):
    """The browser wants no more: the subscription is to be forgotten."""


def parse_target(endpoint: str, key: str, secret: str, allowed: Collection[str] = ()) -> PushTarget:
    """Read what a browser gave; raises PushError.

    The endpoint has to be https, unless its origin is `allowed`: that is for a push service of
    the owner's own.
    """
    try:
        return webpush.parse_target(endpoint, key, secret, plain=_origin(endpoint) in allowed)
    except ValueError as error:
        raise PushError(str(error)) from None


def deliver(
    target: PushTarget,
    body: bytes,
    headers: dict[str, str],
    allowed: Collection[str] = (),
    resolve: Callable[..., list[tuple[object, ...]]] = socket.getaddrinfo,  # type: ignore[assignment]
) -> None:
    """Send a push, in a thread: it blocks. Raises PushError and SubscriptionGone.

    The name is looked up once, and the connection goes to the very address that was found to be
    public. No redirect is followed.
    """
    parts = urlsplit(target.endpoint)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = parts.hostname or ""
    try:
        found = {str(item[4][0]) for item in resolve(host, port, type=socket.SOCK_STREAM)}  # type: ignore[index]
        private = _origin(target.endpoint) in allowed
        address = webpush.address_of(host, found, private=private)
        connection = _connection(parts.scheme, host, port, address)
        try:
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            connection.request("POST", path or "/", body, headers)
            status = connection.getresponse().status
        finally:
            connection.close()
    except InvalidInput as error:
        raise PushError(str(error)) from None
    except (OSError, HTTPException, ValueError, IndexError) as error:
        raise PushError(f"{host}: {type(error).__name__}") from None
    if status in webpush.GONE:
        raise SubscriptionGone(f"{host}: the browser wants no more")
    if not 200 <= status < 300:
        raise PushError(f"{host} answered {status}")


def _origin(endpoint: str) -> str:
    """Return the origin of an endpoint; raises ValueError for what is no address."""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc}"


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
