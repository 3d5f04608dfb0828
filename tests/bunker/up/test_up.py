"""`bunker up`: supervised processes under one command, and who else can use or read them."""

import asyncio
import os
import select
import shutil
import signal
import socket
import ssl
import sysconfig
from pathlib import Path

import pytest
from click.testing import CliRunner

from bunker.cli import main
from bunker_client import RemoteSigner
from bunker_client.errors import ClientError
from bunker_core.keys import SecretKey
from bunker_relay.cli import relay
from support.proxy import self_signed
from support.require import need
from support.up import bunker_up, uri_of


def children(process: asyncio.subprocess.Process) -> dict[str, int]:
    """The processes that `up` started, `relay` and `signer`."""
    pids = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_text().split("\0") for pid in pids}
    return {
        words[words.index("run") - 1].removeprefix("bunker_"): pid
        for pid, words in commands.items()
    }


def _variable(pid: int, name: str) -> str:
    """Return a variable of a process's environment."""
    found = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(item.split("=", 1) for item in found if item)[name]


async def test_up_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """An app pairs by the printed URI and signs; SIGTERM ends both processes with exit code 0.

    The folder in which they said that they live is gone with them.
    """
    async with bunker_up(tmp_path, "--no-qr", "--allow", "sign_event:1") as process:
        uri, _ = await uri_of(process)
        started = children(process)
        assert set(started) == {"relay", "signer"}
        folder = Path(_variable(started["relay"], "NOTIFY_SOCKET")).parent
        assert {path.name for path in folder.iterdir()} == set(started)
        assert folder.stat().st_mode & 0o777 == 0o700
        async with RemoteSigner.from_uri(uri, timeout=10) as signer:
            event = await signer.request_signature({"kind": 1, "content": "up"})
            assert event.content == "up"
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await process.wait() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in started.values())
        assert not folder.exists()


async def test_qr_code_stands_before_the_uri(tmp_path: Path) -> None:
    """The QR code is drawn with block characters, and the URI follows for those who copy."""
    async with bunker_up(tmp_path, "--qr") as process:
        _, before = await uri_of(process)
        assert len([line for line in before if set(line) & set("█▀▄")]) > 15


async def _signs(uri: str, key: SecretKey) -> None:
    """Have the app of `key` get a signature."""
    async with RemoteSigner.from_uri(uri, client_key=key, timeout=10) as app:
        await app.request_signature({"kind": 1})


async def test_processes_that_die_are_started_again(tmp_path: Path) -> None:
    """Relay and signer come back by themselves, on the same address, and the pairing holds."""
    async with bunker_up(tmp_path, "--no-qr", "--profile", "full") as process:
        uri, _ = await uri_of(process)
        key = SecretKey.generate()
        await _signs(uri, key)
        for pid in children(process).values():
            os.kill(pid, signal.SIGKILL)
        again, _ = await uri_of(process)
        assert again.partition("&secret=")[0] == uri.partition("&secret=")[0]
        await _signs(uri, key)
        assert process.stderr
        said = [(await process.stderr.readline()).decode() for _ in range(2)]
        assert any("the relay ended with -9" in line for line in said)


async def test_processes_that_hang_are_started_again(tmp_path: Path) -> None:
    """Both stopped in their tracks: `up` notices after seven seconds, and an app signs again."""
    async with bunker_up(tmp_path, "--no-qr", "--profile", "full") as process:
        uri, _ = await uri_of(process)
        key = SecretKey.generate()
        await _signs(uri, key)
        for pid in children(process).values():
            os.kill(pid, signal.SIGSTOP)
        assert process.stderr
        said = [(await process.stderr.readline()).decode() for _ in range(2)]
        assert all("no sign of life for 7 s" in line or "ended with -9" in line for line in said)
        await uri_of(process)
        await _signs(uri, key)


async def test_processes_end_with_their_parent(tmp_path: Path) -> None:
    """When `up` is killed, no relay and no signer stay behind."""
    async with bunker_up(tmp_path, "--no-qr") as process:
        await uri_of(process)
        handles = [os.pidfd_open(pid) for pid in children(process).values()]
        process.kill()
        await process.wait()
        for handle in handles:
            assert select.select([handle], [], [], 10)[0]
            os.close(handle)


async def test_relay_takes_no_other_signers_traffic(tmp_path: Path) -> None:
    """The relay is private: a request for a stranger's signer is refused, and the reason said."""
    async with bunker_up(tmp_path, "--no-qr") as process:
        uri, _ = await uri_of(process)
        other = SecretKey.generate().pubkey
        stranger = uri.replace(uri.removeprefix("bunker://")[:64], other)
        with pytest.raises(ClientError, match="restricted"):
            async with RemoteSigner.from_uri(stranger, timeout=5):
                pass


async def test_relay_commands_act_on_the_relay_that_runs(tmp_path: Path) -> None:
    """`bunker relay ban` beside it: an app is shut out within a second, the signer never."""
    app = SecretKey.generate()
    data = ("--data", str(tmp_path / "relay"))
    async with bunker_up(tmp_path, "--no-qr") as process:
        uri, _ = await uri_of(process)
        async with RemoteSigner.from_uri(uri, client_key=app) as signer:
            session = signer.session
        signers_own = CliRunner().invoke(relay, ("ban", session.remote_signer_pubkey, *data))
        assert "can't be banned: it is a signer of this relay" in signers_own.output
        banned = CliRunner().invoke(relay, ("ban", app.pubkey, *data))
        assert banned.exit_code == 0, banned.output
        async with asyncio.timeout(20):
            refused = ""
            while "blocked" not in refused:  # it looks once a second
                try:
                    async with RemoteSigner.from_session(session, timeout=5) as signer:
                        await signer.ping()
                except ClientError as error:
                    refused = str(error)
        assert CliRunner().invoke(relay, ("unban", app.pubkey, *data)).exit_code == 0
        async with asyncio.timeout(20):
            while "blocked" in refused:
                try:
                    async with RemoteSigner.from_session(session, timeout=5) as signer:
                        await signer.ping()
                    refused = ""
                except ClientError as error:
                    refused = str(error)
        assert refused == ""


@pytest.mark.parametrize(
    "command",
    ["status", "up", "init", "key list", "relay list", "signer status", "whoami", "panic"],
)
def test_without_a_home_each_command_says_what_to_set(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container under a bare uid has none, nor an entry in the table of users."""

    def unknown(_: object) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", unknown)
    environment = dict.fromkeys(("HOME", "XDG_DATA_HOME", "BUNKER_SESSIONS", "BUNKER_URI"), None)
    result = CliRunner(env=environment).invoke(main, command.split())
    assert result.exit_code != 0
    assert not isinstance(result.exception, RuntimeError)
    if command != "relay list":  # which looks into ./relay-data as well
        assert "no home directory is known: set HOME" in result.output


async def test_a_second_start_says_that_it_runs(tmp_path: Path) -> None:
    """`bunker up` beside `bunker up` is told so, with what to do: not to make a second key."""
    async with bunker_up(tmp_path) as first:
        await uri_of(first)
        before = sorted(path for path in tmp_path.rglob("*") if "keys" in path.parts)
        async with bunker_up(tmp_path) as second:
            async with asyncio.timeout(20):
                assert await second.wait() == 1
            assert second.stderr
            said = (await second.stderr.read()).decode()
        assert f"running already on {tmp_path} (process {first.pid}): `bunker status`" in said
        assert said.count("\n") == 1
        assert sorted(path for path in tmp_path.rglob("*") if "keys" in path.parts) == before
    async with bunker_up(tmp_path) as third:  # what the lock file says of before is no obstacle
        await uri_of(third)


async def test_nothing_is_for_others_to_read(tmp_path: Path) -> None:
    """With a shell's umask and a folder that was open, files are 0600, folders 0700, argv bare."""
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o755)
    before = os.umask(0o022)
    topic = "ntfy:https://ntfy.example/a-secret-topic"
    (tmp_path / "hooks").write_text(f"{topic}\n")
    try:
        async with bunker_up(data, "--notify", f"file:{tmp_path}/hooks") as process:
            await uri_of(process)
            assert data.stat().st_mode & 0o777 == 0o700
            ours = list(data.rglob("*"))
            assert {path.name for path in ours} >= {"signer.sqlite3", "relay.sqlite3", "up.lock"}
            assert not [path for path in ours if path.stat().st_mode & 0o077]
            for pid in (process.pid, *children(process).values()):
                assert "secret-topic" not in Path(f"/proc/{pid}/cmdline").read_text()
    finally:
        os.umask(before)
    async with bunker_up(data, "--notify", topic) as process:
        async with asyncio.timeout(20):
            assert await process.wait() == 2
        assert process.stderr
        said = (await process.stderr.read()).decode()
        assert "every user of this machine can read it there" in " ".join(said.split())


async def test_a_log_gets_nothing_that_pairs(tmp_path: Path) -> None:
    """Without a terminal, as a service, no URI and no link is printed but how to get them."""
    async with bunker_up(tmp_path, "--no-pair") as process:
        said = ""
        assert process.stdout
        async with asyncio.timeout(30):
            while "a backup" not in said:
                said += (await process.stdout.readline()).decode()
        assert "`bunker signer pair --data" in said
        assert "console" in said
        process.terminate()
        async with asyncio.timeout(20):
            said += (await process.stdout.read()).decode()
        assert "secret=" not in said
        assert "/bind/" not in said


async def test_port_in_use_is_one_line(tmp_path: Path) -> None:
    """A second installation on the same port says which port and what to do."""
    async with bunker_up(tmp_path / "first", "--no-qr") as first:
        uri, _ = await uri_of(first)
        port = uri.partition("127.0.0.1%3A")[2].partition("&")[0]
        async with bunker_up(tmp_path / "second", "--no-qr", "--port", port) as second:
            async with asyncio.timeout(10):
                assert await second.wait() == 1
            assert second.stderr
            said = (await second.stderr.read()).decode()
            assert said.startswith("Error: ")
            assert port in said
            assert said.count("\n") == 1
            assert not (tmp_path / "second" / "signer").exists()


def _authorities(file: Path | str) -> list[bytes]:
    return ssl.create_default_context(cafile=str(file)).get_ca_certs(binary_form=True)


async def test_domain_is_served_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a domain, app and signer meet at wss://, under a certificate of Caddy's authority.

    The signer believes that one beside those of the system: hooks and relays elsewhere have theirs.
    """
    need(shutil.which("caddy", path=sysconfig.get_path("scripts")), "caddy (extra tls)")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    flags = ("--domain", "localhost", "--tls", "internal", "--https-port", str(port))
    self_signed(tmp_path, "public.example.org")
    public = tmp_path / "fullchain.pem"  # the system's roots, where they are one file
    monkeypatch.setenv("SSL_CERT_FILE", str(public))
    async with bunker_up(tmp_path, "--no-qr", "--profile", "full", *flags) as process:
        uri, before = await uri_of(process)
        assert f"wss%3A%2F%2Flocalhost%3A{port}" in uri
        assert any(f"wss://localhost:{port}" in line for line in before)
        root = tmp_path / "caddy" / "pki" / "authorities" / "local" / "root.crt"
        with pytest.raises(ClientError, match=r"(?i)certificate"):
            async with RemoteSigner.from_uri(uri, timeout=5):
                pass
        monkeypatch.setenv("SSL_CERT_FILE", str(root))
        async with RemoteSigner.from_uri(uri, timeout=10) as app:
            assert (await app.request_signature({"kind": 1})).kind == 1
        started = children(process)
        if os.geteuid() == 0:  # nobody else reads what a hardened process has
            environ = Path(f"/proc/{started['signer']}/environ").read_text().split("\0")
            (believed,) = (item for item in environ if item.startswith("SSL_CERT_FILE="))
            assert _authorities(believed.partition("=")[2]) == [
                *_authorities(public),
                *_authorities(root),
            ]
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            assert await process.wait() == 0
        assert len(started) == 3
        assert not any(Path(f"/proc/{pid}").exists() for pid in started.values())
