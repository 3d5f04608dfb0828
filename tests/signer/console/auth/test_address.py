"""The console has one address, and says truly what that address is worth."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bunker_core.errors import BunkerError
from bunker_signer.console.auth.address import AddressError, parse_address, reachable_address
from bunker_signer.console.auth.guard import Tries
from bunker_signer.console.server import ConsoleConfig, Listening
from signer.console._stage import bound, http, paired, sign, stage


@pytest.mark.parametrize(
    ("url", "origin", "secure", "passkeys", "local"),
    [
        ("https://bunker.example", "https://bunker.example", True, True, False),
        ("https://bunker.example:443/", "https://bunker.example", True, True, False),
        ("https://bunker.example:8443", "https://bunker.example:8443", True, True, False),
        ("http://localhost:7778", "http://localhost:7778", False, True, True),
        ("http://192.168.1.5:7778", "http://192.168.1.5:7778", False, False, False),
        ("https://192.168.1.5", "https://192.168.1.5", True, False, False),
        ("http://[::1]:80", "http://[::1]", False, False, True),
        ("https://Bücher.example", "https://xn--bcher-kva.example", True, True, False),
    ],
)
def test_what_an_address_is_worth(
    url: str, origin: str, secure: bool, passkeys: bool, local: bool
) -> None:
    """Origin as a browser writes it; passkeys at a name with HTTPS, or at localhost."""
    address = parse_address(url)
    assert address.origin == origin
    assert (address.secure, address.passkeys, address.local) == (secure, passkeys, local)


@pytest.mark.parametrize(
    "url",
    ["", "bunker.example", "ftp://x", "https://x/path", "https://x?y", "https://u@x", "http://x:y"],
)
def test_what_is_none(url: str) -> None:
    """An address with a path, a user or another scheme is refused at the start."""
    with pytest.raises(AddressError):
        parse_address(url)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1", "http://localhost:1"),
        ("::1", "http://localhost:1"),
        ("10.0.0.2", "http://10.0.0.2:1"),
    ],
)
def test_how_a_browser_gets_there(host: str, origin: str) -> None:
    """Loopback is called localhost: at a number browsers offer no passkeys."""
    assert reachable_address(host, 1, tls=False).origin == origin


def test_failures_are_slowed_and_forgiven() -> None:
    """Five are free, then one in five seconds; other addresses are not made to pay."""
    tries = Tries()
    for _ in range(5):
        assert tries.allowed("a", 100.0)
        tries.failed("a", 100.0)
    assert not tries.allowed("a", 100.0)
    assert tries.allowed("b", 100.0)
    assert not tries.allowed("a", 104.9)
    assert tries.allowed("a", 105.1)


def test_a_network_of_ones_own_is_one_address() -> None:
    """In IPv6 who has one address has 2^64 of them; a neighbour's are others."""
    tries = Tries()
    for number in range(5):
        tries.failed(f"2001:db8:0:1::{number}", 0.0)
    assert not tries.allowed("2001:db8:0:1:ffff::1", 0.0)
    assert tries.allowed("2001:db8:0:2::1", 0.0)


@pytest.mark.parametrize("proxy", ["caddy", "10.0.0.0/40", "10.0.0.1/8", ""])
def test_a_proxy_is_an_address(proxy: str) -> None:
    """What would never match who comes is refused at the start."""
    with pytest.raises(BunkerError, match="console-proxy"):
        Listening(ConsoleConfig("127.0.0.1:0", proxies=("127.0.0.1", proxy)))


def test_many_addresses_are_slowed_together() -> None:
    """Who has a thousand addresses has not a thousand times the tries."""
    tries = Tries()
    for number in range(60):
        tries.failed(f"address {number}", 0.0)
    assert not tries.allowed("a fresh one", 0.0)


async def test_https_of_its_own(relay_url: str, tmp_path: Path) -> None:
    """With a certificate the cookie is Secure and bound to the host, and HTTPS is insisted on."""
    certificate, key = self_signed(tmp_path)
    arguments = ("--console", "127.0.0.1:0", "--console-cert", certificate, "--console-key", key)
    trust = ssl.create_default_context(cafile=certificate)
    async with stage(relay_url, tmp_path / "signer", arguments) as on:
        assert on.origin.startswith("https://localhost:")
        async with httpx.AsyncClient(base_url=on.origin, verify=trust, trust_env=False) as phone:
            phone.headers["origin"] = on.origin
            answer = await phone.post(on.link.removeprefix(on.origin), data={"name": "Phone"})
            assert answer.headers["set-cookie"].startswith("__Host-device=")
            assert "; Secure" in answer.headers["set-cookie"]
            assert "max-age" in answer.headers["strict-transport-security"]
            assert (await phone.get("/requests")).status_code == 200


async def test_an_answer_counts_for_what_was_on_the_page(relay_url: str, tmp_path: Path) -> None:
    """A form for another set of requests than the one that waits answers nothing."""
    async with (
        stage(relay_url, tmp_path / "signer") as on,
        http(on) as phone,
        paired(on) as app,
    ):
        token = await bound(on, phone)
        signing = sign(app, "seen as it is")
        path, seen = await first_card(phone)
        stale = {"csrf": token, "seen": "0" * 32, "answer": "once"}
        assert (await phone.post(path, data=stale)).status_code == 409
        odd = {"csrf": token, "seen": seen, "answer": "forever"}
        assert (await phone.post(path, data=odd)).status_code == 400
        assert not signing.done()
        good = {"csrf": token, "seen": seen, "answer": "once"}
        assert (await phone.post(path, data=good)).status_code == 303
        assert (await signing).content == "seen as it is"
        assert (await phone.post(path, data=good)).status_code == 409


async def first_card(phone: httpx.AsyncClient) -> tuple[str, str]:
    """Wait for a question on the stream; return where it is answered, and what the form repeats."""
    async with phone.stream("GET", "/events") as events:
        path = ""
        async for line in events.aiter_lines():
            if 'class="answers"' in line:
                path = line.split('action="')[1].split('"')[0]
            if path and 'name="seen"' in line:
                return path, line.split('value="')[1].split('"')[0]
    raise AssertionError("the stream ended")


def self_signed(folder: Path) -> tuple[str, str]:
    """Make a certificate for localhost; return its path and its key's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(paths[0]), str(paths[1])
