"""Relay URLs: one spelling for each relay, so that two of them can be compared (NIP-01, NIP-42)."""

from typing import Final
from urllib.parse import urlsplit

from bunker_core.errors import InvalidURI

MAX_URL: Final = 1024  # characters; longer ones are an attack, not an address
_DEFAULT_PORTS: Final = {"ws": 80, "wss": 443}


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
        host = parts.hostname
        host_bytes = (host or "").encode("idna" if not (host or "").isascii() else "ascii")
    except ValueError:  # an unclosed bracket, a port out of range, a name IDNA refuses
        raise InvalidURI("relay URL can't be read") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise InvalidURI("relay URL does not start with ws:// or wss://")
    if not host:
        raise InvalidURI("relay URL has no host")
    if "@" in parts.netloc or parts.fragment:
        raise InvalidURI("relay URL has a user name or a fragment")
    netloc = host_bytes.decode()
    if ":" in netloc:
        netloc = f"[{netloc}]"
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        netloc += f":{port}"
    path = "" if parts.path == "/" else parts.path
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{netloc}{path}{query}"


def is_loopback(url: str) -> bool:
    """Tell whether a relay URL names this machine, where ws:// without TLS is safe."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.") or host.endswith(".localhost")
