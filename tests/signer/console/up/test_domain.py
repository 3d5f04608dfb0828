"""`bunker up --domain --console-domain`: the console behind Caddy, at a name of its own."""

import asyncio
import base64
import shutil
import socket
import ssl
import sysconfig
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from interop.peers import running
from signer.console._stage import browser, bunker, node_script, scan, sure, tap, visitor
from signer.console.auth.test_passkeys import add_passkey, sensor
from support import commands
from support.require import need

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME = "bunker.test"  # RFC 2606: nobody's; the browser is told where it is


@dataclass(frozen=True, slots=True)
class Installed:
    """What `bunker up` printed, and where it is."""

    lines: list[str]
    data: Path
    port: int

    @property
    def origin(self) -> str:
        return f"https://{NAME}:{self.port}"

    @property
    def link(self) -> str:
        return next(line for line in self.lines if "/bind/" in line)

    @property
    def uri(self) -> str:
        return next(line for line in self.lines if line.startswith("bunker://"))

    @property
    def authority(self) -> Path:
        return self.data / "caddy" / "pki" / "authorities" / "local"

    def client(self, source: str = "127.0.0.1") -> httpx.AsyncClient:
        """Return a client that comes from an address of this machine's own."""
        trust = ssl.create_default_context(cafile=self.authority / "root.crt")
        return httpx.AsyncClient(
            transport=_ToCaddy(verify=trust, local_address=source),
            base_url=self.origin,
            headers={"origin": self.origin},
        )


class _ToCaddy(httpx.AsyncHTTPTransport):
    """Finds the console's name on this machine, as DNS would."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["sni_hostname"] = NAME
        request.url = request.url.copy_with(host="127.0.0.1")
        return await super().handle_async_request(request)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installed]:
    """An installation with two names."""
    need(shutil.which("caddy", path=sysconfig.get_path("scripts")), "caddy (extra tls)")
    async with installed(
        *(tmp_path_factory.mktemp("up"), ("bunker://", "/bind/"), "--yes", "--pair"),
        *("--console-domain", NAME, "--auth-url", "console"),
    ) as found:
        yield found


@asynccontextmanager
async def installed(data: Path, shown: Sequence[str], *options: str) -> AsyncIterator[Installed]:
    """Run `bunker up --domain localhost`, Caddy with an authority of its own, on a free port.

    It is there when there are lines with each text of `shown`.
    """
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(bunker(), "up", "--data", str(data), "--port", "0", "--no-qr", "--domain", "localhost"),
        *("--tls", "internal", "--https-port", str(port), *options),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        async with asyncio.timeout(90):
            while not all(any(part in line for line in lines) for part in shown):
                raw = await process.stdout.readline()
                assert raw, lines
                lines.append(raw.decode().strip())
        yield Installed(lines, data, port)
    finally:
        process.terminate()
        await process.communicate()


def flags(up: Installed) -> tuple[str, ...]:
    """Return what lets Chromium find the name and believe Caddy's own authority."""
    pem = (up.authority / "intermediate.crt").read_bytes()
    key = x509.load_pem_x509_certificate(pem).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pin = base64.b64encode(sha256(der).digest()).decode()
    return (
        f"--host-resolver-rules=MAP {NAME} 127.0.0.1",
        f"--ignore-certificate-errors-spki-list={pin}",
    )


async def test_the_story_at_a_name(up: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The printed link binds; requests arrive live; auth_url and passkeys work: at the name."""
    assert up.link.startswith(f"{up.origin}/bind/")
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(up.authority / "root.crt"))
    async with (
        browser(*flags(up), shell=True) as chromium,
        visitor(chromium, up.origin, worker=True) as phone,
        sensor(phone),
    ):
        await scan(phone, up.link)
        (cookie,) = await phone.context.cookies()
        assert (cookie["name"], cookie["path"]) == ("__Host-device", "/")
        assert (cookie["httpOnly"], cookie["secure"]) == (True, True)
        assert cookie["sameSite"] == "Strict"
        assert cookie["domain"] == NAME

        async with running(*node_script("nostr_tools_asks.mjs"), up.uri) as desktop:
            await desktop.until("connected")
            opened = await desktop.until("auth_url")
            assert opened.startswith(f"{up.origin}/requests/")
            # The page was there before the request: the stream came through Caddy at once.
            await phone.get_by_role("heading", name="Post a note").wait_for()
            await phone.goto(opened)
            assert await phone.locator(".content").inner_text() == "asked by nostr-tools"
            await tap(phone, "Allow once")
            await phone.get_by_text("Allowed", exact=True).wait_for()
            assert (await desktop.until("signed"))["content"] == "asked by nostr-tools"

        await add_passkey(phone, up.origin)
        await sure(phone, "Unbind this device", "Yes, unbind this device")
        assert phone.url.endswith("/login")
        await tap(phone, "Log in with a passkey")
        assert "/requests" in phone.url


async def test_who_comes_is_said_by_caddy_alone(up: Installed) -> None:
    """Guessing is slowed by an address that the guesser can't choose; others come in still."""
    async with up.client() as guesser, up.client("127.0.0.2") as owner:
        for number in range(8):
            said = {"x-forwarded-for": f"10.0.0.{number}"}
            answer = await guesser.get("/bind/wrong", headers=said)
        assert answer.status_code == 429
        assert (await owner.get("/bind/wrong")).status_code == 404
        assert (await owner.get("/login")).headers["strict-transport-security"]


async def test_each_name_is_one_thing(up: Installed) -> None:
    """No console at the relay's name, no relay at the console's; the printed link is used up."""
    async with up.client() as client:
        relay = f"localhost:{up.port}"
        assert (await client.get("/login", headers={"host": relay})).status_code == 404
        wanted = {"accept": "application/nostr+json"}
        answer = await client.get("/requests", headers=wanted)
        assert answer.status_code == 401
        assert "supported_nips" not in answer.text
        path = up.link.removeprefix(up.origin)
        assert (await client.post(path, data={"name": "Late"})).status_code in (404, 429)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--console-domain", NAME), "needs --domain"),
        (("--domain", NAME, "--console-domain", NAME.upper()), "another name"),
        (
            ("--domain", "localhost", "--console-domain", NAME, "--console", "off"),
            "one or the other",
        ),
    ],
)
async def test_names_that_make_no_sense(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    """It is said before a key is made."""
    words = ("up", "--data", str(tmp_path / "data"), "--yes", *arguments)
    done = await asyncio.to_thread(commands.run, words)
    assert done.returncode == 1
    assert said in done.stderr.decode()
    assert not (tmp_path / "data").exists()
