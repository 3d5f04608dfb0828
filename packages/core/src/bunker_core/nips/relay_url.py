"""Relay URLs: one spelling for each relay, so that two of them can be compared (NIP-01, NIP-42)."""

import re
from ipaddress import IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

from bunker_core.errors import InvalidURI

MAX_URL: Final = 1024  # characters; longer ones are an attack, not an address
_DEFAULT_PORTS: Final = {"ws": 80, "wss": 443}
# RFC 952 and the underscore of container names. More would invite two libraries to see two hosts.
_NAME: Final = re.compile(r"[a-z0-9._-]+")


def parse_relay_url(text: str) -> str:
    """Return the normal form of a ws:// or wss:// URL; raises InvalidURI.

    Scheme and host in lower case, no default port, no trailing slash on an empty path; user
    names, fragments and control characters are refused.
    """
    text = text.strip()
    if len(text) > MAX_URL:
        raise InvalidURI("relay URL is too long")
    if not text.isprintable() or " " in text:
        raise InvalidURI("relay URL has a space or a control character")
    try:
        parts = urlsplit(text)
        port = parts.port
        host = _host(parts.hostname or "", bracketed="[" in parts.netloc)
    except ValueError:  # an unclosed bracket, a port out of range, no name of a host
        raise InvalidURI("relay URL can't be read") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise InvalidURI("relay URL does not start with ws:// or wss://")
    if not host:
        raise InvalidURI("relay URL has no host")
    if "@" in parts.netloc or parts.fragment:
        raise InvalidURI("relay URL has a user name or a fragment")
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        host += f":{port}"
    path = "" if parts.path == "/" else parts.path
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{host}{path}{query}"


def is_loopback(url: str) -> bool:
    """Tell whether a relay URL names this machine, where ws:// without TLS is safe."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name; 127.example.com is one, and no loopback
        return host == "localhost" or host.endswith(".localhost")


def _host(host: str, *, bracketed: bool) -> str:
    """Return the ASCII form of a host, an IPv6 address in brackets; raises ValueError."""
    if not bracketed:
        name = host if host.isascii() else host.encode("idna").decode()
        if name and not _NAME.fullmatch(name):
            raise ValueError("not a name")
        return name
    if "%" in host:
        raise ValueError("a scope means something on one machine only")
    return f"[{IPv6Address(host)}]"
