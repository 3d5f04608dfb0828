"""Where a browser is woken: the push service that it named, and only a public one (RFC 8030)."""

import socket
import ssl
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from bunker_core.errors import BunkerError
from bunker_core.nips.webpush import check_keys, decode

MAX_ENDPOINT: Final = 1024  # characters
TIMEOUT: Final = 10.0  # seconds for each step of a delivery
_GONE: Final = (404, 410)


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
    try:
        parts = urlsplit(endpoint)
    except ValueError:
        raise PushError("the push service's address can't be read") from None
    origin = f"{parts.scheme}://{parts.netloc}"
    if len(endpoint) > MAX_ENDPOINT or not endpoint.isascii() or not endpoint.isprintable():
        raise PushError("the push service's address can't be read")
    if origin not in allowed and (parts.scheme != "https" or not parts.hostname or parts.username):
        raise PushError("the push service's address is not https")
    try:
        target = PushTarget(endpoint, decode(key), decode(secret))
        check_keys(target.key, target.secret)
    except ValueError:
        raise PushError("the browser's push key can't be read") from None
    return target


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
