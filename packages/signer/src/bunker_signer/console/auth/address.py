"""Where the console is reached: one origin, which every check goes by."""

import socket
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from bunker_core.errors import BunkerError

DEFAULT_PORT: Final = 7778


class AddressError(BunkerError):
    """An address at which the console can't be."""


@dataclass(frozen=True, slots=True)
class Address:
    """The origin in a browser's address bar. `host` is the name without the port."""

    scheme: str
    host: str
    netloc: str  # host and port, as in the Host header

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.netloc}"

    @property
    def secure(self) -> bool:
        """Whether nobody on the way can read along."""
        return self.scheme == "https"

    @property
    def passkeys(self) -> bool:
        """Whether browsers offer passkeys here: they want a name, and HTTPS or this machine."""
        return not _is_ip(self.host) and (self.secure or self.host == "localhost")

    @property
    def local(self) -> bool:
        """Whether only this machine can come here."""
        return self.host == "localhost" or (_is_ip(self.host) and ip_address(self.host).is_loopback)


def parse_address(url: str) -> Address:
    """Read `https://bunker.example` or `http://localhost:7778`; raises AddressError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise AddressError(f"{url} is no address for the console") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AddressError(f"{url} is no address for the console: http:// or https:// and a name")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise AddressError(f"{url}: the console needs an address of its own, without a path")
    host = _as_browsers_write(parts.hostname, url)
    name = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}[parts.scheme]
    netloc = name if port in (None, default) else f"{name}:{port}"
    return Address(parts.scheme, host, netloc)


def reachable_address(host: str, port: int, *, tls: bool) -> Address:
    """Return how a browser reaches what listens on `host`: the network's address if it is any."""
    name = host
    if _is_ip(host) and ip_address(host).is_loopback:
        name = "localhost"  # the one name without HTTPS at which browsers offer passkeys
    elif not host or (_is_ip(host) and ip_address(host).is_unspecified):
        name = _own_address()
    name = f"[{name}]" if ":" in name else name
    return parse_address(f"{'https' if tls else 'http'}://{name}:{port}")


def _as_browsers_write(host: str, url: str) -> str:
    """Return a name as it stands in Host and Origin: in ASCII (IDNA)."""
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        raise AddressError(f"{url} is no address for the console") from None


def _own_address() -> str:
    """Return this machine's address on the network it would send to. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # RFC 5737: an address of nobody
        except OSError:
            return "localhost"
        return str(probe.getsockname()[0])


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
