"""A certificate by ACME, from a certificate authority on this machine: Pebble, Let's Encrypt's own.

Not among the tests that run by themselves, for it needs a program that nothing else does:

    go install github.com/letsencrypt/pebble/v2/cmd/pebble@latest
    BUNKER_TEST_PEBBLE=~/go/bin/pebble make test TESTS=tests/deploy/acme.py
"""

import asyncio
import json
import os
import shutil
import socket
import socketserver
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bunker.harness import running_relay
from bunker.up.caddy import Site, wait_until_served
from support.proxy import caddy, free_port, running, self_signed
from support.require import need

PEBBLE = os.environ.get("BUNKER_TEST_PEBBLE") or shutil.which("pebble")

DOMAIN = "relay.example.org"
DEPLOYED = Path(__file__).parents[2] / "deploy" / "Caddyfile"


@dataclass(frozen=True, slots=True)
class Authority:
    """A running Pebble that looks for DOMAIN on these two ports of this machine."""

    directory: str
    management: str
    certificate: Path  # of its own HTTPS
    http_port: int
    https_port: int

    def root(self) -> str:
        """Return the certificate that those it issues are signed under; made at each start."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        url = f"{self.management}/roots/0"
        with urllib.request.urlopen(url, context=context, timeout=10) as answer:
            return str(answer.read().decode())


class Resolver(socketserver.StreamRequestHandler):
    """Answers every DNS question for an address with 127.0.0.1, over TCP as Pebble asks."""

    def handle(self) -> None:
        query = self.rfile.read(int.from_bytes(self.rfile.read(2)))
        end = query.index(b"\0", 12) + 5  # the name, its type and class
        is_a = query[end - 4 : end - 2] == b"\0\1"
        head = query[:2] + b"\x81\x80\0\1" + bytes([0, is_a]) + bytes(4)
        record = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4\x7f\0\0\1" if is_a else b""
        answer = head + query[12:end] + record
        self.wfile.write(len(answer).to_bytes(2) + answer)


@contextmanager
def resolver() -> Iterator[int]:
    """Run a Resolver; yield its port."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Resolver) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Authority]:
    need(PEBBLE, "pebble, an ACME server")
    assert PEBBLE
    folder = tmp_path / "pebble"
    folder.mkdir()
    self_signed(folder, "localhost")
    ports = [free_port() for _ in range(4)]
    settings = {
        "listenAddress": f"127.0.0.1:{ports[0]}",
        "managementListenAddress": f"127.0.0.1:{ports[1]}",
        "certificate": str(folder / "fullchain.pem"),
        "privateKey": str(folder / "privkey.pem"),
        "httpPort": ports[2],
        "tlsPort": ports[3],
        "retryAfter": {"authz": 1, "order": 1},
        "profiles": {"default": {"description": "default", "validityPeriod": 86_400}},
    }
    (folder / "config.json").write_text(json.dumps({"pebble": settings}))
    with resolver() as dns:
        command = (PEBBLE, "-config", str(folder / "config.json"), "-dnsserver")
        with running(
            *command, f"127.0.0.1:{dns}", PEBBLE_VA_NOSLEEP="1", PEBBLE_WFE_NONCEREJECT="0"
        ):
            for port in ports[:2]:
                wait_until_open(port)
            urls = [f"https://localhost:{port}" for port in ports[:2]]
            yield Authority(f"{urls[0]}/dir", urls[1], folder / "fullchain.pem", *ports[2:])


def wait_until_open(port: int) -> None:
    """Return when a port of this machine takes connections."""
    for _ in range(100_000):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise TimeoutError


@pytest.mark.parametrize("whose", ["up", "deploy"])
async def test_certificate_comes_by_acme(
    whose: str, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caddy proves the name to an authority, and the relay answers under the one it issued."""
    site = Site(DOMAIN, free_port(), tmp_path / "caddy", authority.https_port)
    # Only what an authority on the internet and the ports 80 and 443 need no words for.
    text = site.caddyfile() if whose == "up" else DEPLOYED.read_text()
    settings = [f"acme_ca {authority.directory}", f"acme_ca_root {authority.certificate}"]
    settings += [f"http_port {authority.http_port}"]
    if whose == "deploy":
        settings += [f"https_port {authority.https_port}", f"storage file_system {site.data}"]
    head, brace, rest = text.partition("{\n")
    path = tmp_path / "Caddyfile"
    path.write_text(head + brace + "".join(f"\t{line}\n" for line in settings) + rest)
    command = (caddy(), "run", "--config", str(path), "--adapter", "caddyfile")
    names = {"BUNKER_DOMAIN": DOMAIN, "BUNKER_RELAY": f"127.0.0.1:{site.relay_port}"}
    arguments = ("--url", site.url)
    async with running_relay(tmp_path / "relay", port=site.relay_port, arguments=arguments):
        (tmp_path / "root.pem").write_text(authority.root())
        with running(*command, HOME=str(tmp_path), **names):
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))
            await asyncio.to_thread(wait_until_served, site)
