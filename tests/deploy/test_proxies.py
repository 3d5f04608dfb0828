"""The proxies' configurations: parsed by their own programs, and a signature goes through each."""

import datetime
import os
import shutil
import socket
import subprocess
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from _require import need
from bunker.caddy import Site
from bunker.harness import running_relay, running_signer
from bunker_client import RemoteSigner

DEPLOY = Path(__file__).parents[2] / "deploy"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def caddy() -> str:
    found = shutil.which("caddy", path=f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}")
    need(found, "caddy (extra tls)")
    assert found
    return found


def check(*command: str, **environment: str) -> str:
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


@contextmanager
def running(*command: str, **environment: str) -> Iterator[None]:
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    try:
        yield
    finally:
        process.terminate()
        process.communicate(timeout=20)


def self_signed(folder: Path, name: str) -> None:
    """Write fullchain.pem and privkey.pem for `name`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1, now, now + _DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "fullchain.pem").write_bytes(certificate.public_bytes(_PEM))
    (folder / "privkey.pem").write_bytes(
        key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


_DAY = datetime.timedelta(days=1)
_PEM = serialization.Encoding.PEM


def test_caddyfile_is_valid_and_formatted() -> None:
    """Caddy takes the file as it is, for the name in the environment."""
    program = caddy()
    path = str(DEPLOY / "Caddyfile")
    said = check(
        program, "validate", "--config", path, "--adapter", "caddyfile", BUNKER_DOMAIN="r.example"
    )
    assert "Valid configuration" in said
    check(program, "fmt", "--diff", path)


def test_caddyfile_of_up_is_valid(tmp_path: Path) -> None:
    """What `bunker up --domain` writes is taken by Caddy, with either kind of certificate."""
    program = caddy()
    for internal, port in ((False, 443), (True, 8443)):
        path = tmp_path / "Caddyfile"
        path.write_text(Site("r.example", 7777, tmp_path, port, internal).caddyfile())
        said = check(program, "validate", "--config", str(path), "--adapter", "caddyfile")
        assert "Valid configuration" in said
        check(program, "fmt", "--diff", str(path))


@pytest.fixture
def nginx(tmp_path: Path) -> tuple[list[str], int, int]:
    """The command of nginx with deploy/nginx.conf, its TLS port, and the relay's."""
    need(shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin"), "nginx")
    self_signed(tmp_path, "localhost")
    tls, plain, relay = free_port(), free_port(), free_port()
    site = (DEPLOY / "nginx.conf").read_text()
    for old, new in (
        ("/etc/letsencrypt/live/relay.example.org", str(tmp_path)),
        ("relay.example.org", "localhost"),
        ("listen [::]:443 ssl;", ""),
        ("listen [::]:80;", ""),
        ("listen 443", f"listen 127.0.0.1:{tls}"),
        ("listen 80", f"listen 127.0.0.1:{plain}"),
        ("127.0.0.1:7777", f"127.0.0.1:{relay}"),
    ):
        assert old in site
        site = site.replace(old, new)
    (tmp_path / "site.conf").write_text(site)
    paths = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log stderr warn; worker_processes 1;\n"
        f"events {{}}\nhttp {{ {paths} include {tmp_path}/site.conf; }}\n"
    )
    command = ["/usr/sbin/nginx", "-p", str(tmp_path), "-e", "stderr"]
    command += ["-c", str(tmp_path / "nginx.conf")]
    return command, tls, relay


def test_nginx_takes_the_file(nginx: tuple[list[str], int, int]) -> None:
    """`nginx -t` finds the configuration sound."""
    command, _, _ = nginx
    said = check(*command, "-t")
    assert "test is successful" in said
    assert "warn" not in said


async def test_signature_goes_through_nginx(
    nginx: tuple[list[str], int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """App and signer meet at wss://, with nginx between them and the relay."""
    command, tls, port = nginx
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "fullchain.pem"))
    arguments = ("--url", f"wss://localhost:{tls}")
    async with running_relay(tmp_path / "relay", port=port, arguments=arguments):
        with running(*command):
            url = f"wss://localhost:{tls}"
            async with (
                running_signer(tmp_path / "signer", [url], allow="sign_event") as signer,
                RemoteSigner.from_uri(signer.uri, timeout=10) as app,
            ):
                assert (await app.request_signature({"kind": 1})).kind == 1
