"""The proxies' configurations: parsed by their own programs, and a signature goes through each."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bunker.harness import running_relay, running_signer
from bunker.up.caddy import Site
from bunker_client import RemoteSigner
from support.proxy import caddy, free_port, running, self_signed
from support.require import need

DEPLOY = Path(__file__).parents[2] / "deploy"


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
