"""`bunker up`: the first run, and supervised processes under one command."""

import asyncio
import os
import pty
import re
import select
import shutil
import signal
import socket
import ssl
import sys
import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from _proxy import self_signed
from _require import need
from bunker.cli import main
from bunker.installation import Installation
from bunker_client import RemoteSigner
from bunker_client.errors import ClientError
from bunker_core.keys import SecretKey
from bunker_core.nips.nip19 import encode_npub, encode_nsec
from bunker_relay.cli import relay
from bunker_signer.key.keystore import TRANSPORT_NAME, create_master_key
from bunker_signer.nse import NSE, FileStorage
from bunker_signer.nse.model import storage_key
from bunker_signer.nse.wrap.master_key import MasterKey
from signer.nse._scan import scan

GOOD = "correct horse battery staple"


@asynccontextmanager
async def bunker_up(data: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bunker", "up", "--data", str(data), "--port", "0"),
        *(() if "--no-pair" in arguments else ("--pair",)),
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(20):
            await process.communicate()


async def uri_of(process: asyncio.subprocess.Process) -> tuple[str, list[str]]:
    assert process.stdout
    before: list[str] = []
    async with asyncio.timeout(30):
        async for raw in process.stdout:
            line = raw.decode().strip()
            if line.startswith("bunker://"):
                return line, before
            before.append(line)
    assert process.stderr
    raise AssertionError((await process.stderr.read()).decode())


def children(process: asyncio.subprocess.Process) -> dict[str, int]:
    """The processes that `up` started, `relay` and `signer`."""
    pids = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_text().split("\0") for pid in pids}
    return {
        words[words.index("run") - 1].removeprefix("bunker_"): pid
        for pid, words in commands.items()
    }


async def test_up_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    """An app pairs by the printed URI and signs; SIGTERM ends both processes with exit code 0."""
    async with bunker_up(tmp_path, "--no-qr", "--allow", "sign_event:1") as process:
        uri, _ = await uri_of(process)
        started = children(process)
        assert set(started) == {"relay", "signer"}
        async with RemoteSigner.from_uri(uri, timeout=10) as signer:
            event = await signer.request_signature({"kind": 1, "content": "up"})
            assert event.content == "up"
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await process.wait() == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in started.values())


async def test_qr_code_stands_before_the_uri(tmp_path: Path) -> None:
    """The QR code is drawn with block characters, and the URI follows for those who copy."""
    async with bunker_up(tmp_path, "--qr") as process:
        _, before = await uri_of(process)
        assert len([line for line in before if set(line) & set("█▀▄")]) > 15


async def test_processes_that_die_are_started_again(tmp_path: Path) -> None:
    """Relay and signer come back by themselves, on the same address, and the pairing holds."""
    async with bunker_up(tmp_path, "--no-qr", "--profile", "full") as process:
        uri, _ = await uri_of(process)
        key = SecretKey.generate()
        async with RemoteSigner.from_uri(uri, client_key=key, timeout=10) as app:
            await app.request_signature({"kind": 1})
        for pid in children(process).values():
            os.kill(pid, signal.SIGKILL)
        again, _ = await uri_of(process)
        assert again.partition("&secret=")[0] == uri.partition("&secret=")[0]
        async with RemoteSigner.from_uri(uri, client_key=key, timeout=10) as app:
            await app.request_signature({"kind": 1})
        assert process.stderr
        said = [(await process.stderr.readline()).decode() for _ in range(2)]
        assert any("the relay ended with -9" in line for line in said)


async def test_processes_that_hang_are_started_again(tmp_path: Path) -> None:
    """Both stopped in their tracks: `up` notices after seven seconds, and an app signs again."""
    async with bunker_up(tmp_path, "--no-qr", "--profile", "full") as process:
        uri, _ = await uri_of(process)
        key = SecretKey.generate()
        async with RemoteSigner.from_uri(uri, client_key=key, timeout=10) as app:
            await app.request_signature({"kind": 1})
        for pid in children(process).values():
            os.kill(pid, signal.SIGSTOP)
        assert process.stderr
        said = [(await process.stderr.readline()).decode() for _ in range(2)]
        assert all("no sign of life for 7 s" in line or "ended with -9" in line for line in said)
        await uri_of(process)
        async with RemoteSigner.from_uri(uri, client_key=key, timeout=10) as app:
            await app.request_signature({"kind": 1})


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


def at_a_terminal(data: Path, answers: list[tuple[str, str]], *arguments: str) -> str:
    """Run `up` on a pseudo terminal; for each (question, answer) wait and type. Return the text."""
    command = [sys.executable, "-m", "bunker", "up", "--data", str(data), "--port", "0"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [*command, "--no-qr", *arguments])
    text = ""

    def read_until(wanted: str) -> None:
        nonlocal text
        while wanted not in text:
            assert select.select([terminal], [], [], 60)[0], text
            text += os.read(terminal, 4096).decode(errors="replace")

    try:
        for question, answer in answers:
            read_until(question)
            text = text.partition(question)[2]
            os.write(terminal, answer.encode() + b"\n")
        read_until("bunker backup")
    finally:
        os.kill(pid, signal.SIGTERM)
        # until the other side is closed: a full terminal would keep it from ending
        while True:
            try:
                if not os.read(terminal, 4096):
                    break
            except OSError:
                break
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return text


def recovered_pubkey(sheet: str, passphrase: str) -> str:
    ncryptsec = re.findall(r"ncryptsec1[a-z0-9]+", sheet)[0]
    with NSE(master_key=bytearray(32)) as key:
        return key.import_ncryptsec(ncryptsec, passphrase).pubkey


def test_first_run_asks_three_questions_and_shows_one_screen(tmp_path: Path) -> None:
    """Enter answers each; the recovery copy opens with the passphrase that was shown."""
    questions = [("1. Your key", ""), ("2. A passphrase", ""), ("3. What may an app", "")]
    screen = at_a_terminal(tmp_path, questions)
    for label in ("relay ", "you ", "key ", "recovery ", "apps ", "bunker://", "bunker status"):
        assert label in screen
    rows = screen.replace("\r", "").partition("nostr-bunker is running")[2].splitlines()
    # the URI and the console's link are for copying, and a link can't be broken
    texts = [row for row in rows if "://" not in row or row.startswith("  relay")]
    wide = [row for row in texts if len(row) > 80 and str(tmp_path) not in row]
    assert not wide
    passphrase = re.findall(r"write it down: (\S+)", screen)[0]
    sheet = (tmp_path / "recovery.txt").read_text()
    npub = encode_npub(recovered_pubkey(sheet, passphrase))
    assert npub in screen
    assert npub in sheet
    assert passphrase not in sheet
    assert (tmp_path / "recovery.txt").stat().st_mode & 0o077 == 0
    again = at_a_terminal(tmp_path, [])
    assert "1. Your key" not in again
    assert "write it down" not in again
    assert npub in again


def test_own_key_and_own_passphrase_at_the_terminal(tmp_path: Path) -> None:
    """What is no key and what is no passphrase are asked for again at once; the right ones hold."""
    secret = SecretKey(bytes(31) + b"\x05")
    nsec = encode_nsec(bytearray(bytes(31) + b"\x05"))
    screen = at_a_terminal(
        tmp_path,
        [
            ("1. Your key", "nsec1wrong"),
            ("new key.\r\n1. Your key", nsec),
            ("2. A passphrase", "x"),
            ("Once more, or Enter.\r\n2. A passphrase", GOOD),
            ("The same again", GOOD),
            ("3. What may an app", "basic"),
        ],
    )
    assert encode_npub(secret.pubkey) in screen
    assert nsec not in screen
    assert "notes, reactions" in screen
    assert "write it down" not in screen
    sheet = (tmp_path / "recovery.txt").read_text()
    assert recovered_pubkey(sheet, GOOD) == secret.pubkey


async def test_without_a_terminal_files_answer(tmp_path: Path) -> None:
    """A key and passphrases come from files; `bunker recovery` writes another copy later."""
    with NSE(master_key=bytearray(32)) as key:
        pubkey = key.generate().pubkey
        (tmp_path / "key").write_text(key.export_ncryptsec("one", log_n=4))
    (tmp_path / "one").write_text("one\n")
    (tmp_path / "two").write_text("two\n")
    data = tmp_path / "data"
    master = tmp_path / "elsewhere.key"
    flags = ["--import-key", f"{tmp_path}/key", "--import-passphrase-file", f"{tmp_path}/one"]
    flags += ["--recovery-passphrase-file", f"{tmp_path}/two", "--master-key-file", str(master)]
    async with bunker_up(data, "--no-qr", *flags) as process:
        _, before = await uri_of(process)
        assert any(encode_npub(pubkey) in line for line in before)
        assert not any("beside it" in line for line in before)
    assert not (data / "signer" / "master.key").exists()
    assert recovered_pubkey((data / "recovery.txt").read_text(), "two") == pubkey
    command = ["recovery", "--data", str(data), "--master-key-file", str(master)]
    command += ["--passphrase-file", f"{tmp_path}/one", f"{tmp_path}/copy"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    assert recovered_pubkey((tmp_path / "copy").read_text(), "one") == pubkey
    assert CliRunner().invoke(main, command).output.startswith("Error: recovery copy")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_are_read_as_editors_write_them(encoding: str, tmp_path: Path) -> None:
    """Notepad's marks are no part of a key, nor of a passphrase."""
    nsec = encode_nsec(bytearray(range(1, 33)))
    (tmp_path / "key").write_text(f"{nsec}\n", encoding)
    (tmp_path / "passphrase").write_text(f"{GOOD}\n", encoding)
    command = ["init", "--data", f"{tmp_path}/data", "--import-key", f"{tmp_path}/key"]
    command += ["--recovery-passphrase-file", f"{tmp_path}/passphrase"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    sheet = (tmp_path / "data" / "recovery.txt").read_text()
    pubkey = re.search(r"BUNKER_RELAY_OWNER=([0-9a-f]{64})", result.output)
    assert pubkey
    assert recovered_pubkey(sheet, GOOD) == pubkey[1]


@pytest.mark.parametrize(
    "option", ["--import-key", "--import-passphrase-file", "--recovery-passphrase-file"]
)
def test_a_file_that_is_no_text_is_said_in_one_line(option: str, tmp_path: Path) -> None:
    """And repeated nowhere."""
    (tmp_path / "key").write_text(encode_nsec(bytearray(range(1, 33))))
    (tmp_path / "other").write_bytes(b"secret \xff\xfe")
    command = ["init", "--data", f"{tmp_path}/data", "--import-key", f"{tmp_path}/key"]
    result = CliRunner().invoke(main, [*command, option, f"{tmp_path}/other"])
    assert result.output == f"Error: {tmp_path}/other is not text in UTF-8\n"


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


async def test_a_key_that_bunker_key_made_is_served(tmp_path: Path) -> None:
    """`bunker key new`, then `bunker up`: what is missing is made, and this key signs."""
    made = CliRunner().invoke(main, ["key", "new", "--data", str(tmp_path / "data" / "signer")])
    assert made.exit_code == 0, made.output
    async with bunker_up(tmp_path / "data", "--no-qr", "--profile", "basic") as process:
        uri, before = await uri_of(process)
        async with RemoteSigner.from_uri(uri) as app:
            event = await app.sign_event({"kind": 1, "content": "x"})
    assert event.pubkey in made.output
    assert any(encode_npub(event.pubkey) in line for line in before)


def test_init_makes_what_is_missing_beside_a_key_and_no_more(tmp_path: Path) -> None:
    """`bunker key new`, then `bunker init`, twice: completed, and then told that it is there."""
    made = CliRunner().invoke(main, ["key", "new", "--data", str(tmp_path / "signer")])
    assert made.exit_code == 0, made.output
    first = CliRunner().invoke(main, ["init", "--data", str(tmp_path)])
    assert first.exit_code == 0, first.output
    owner = re.search(r"BUNKER_RELAY_OWNER=([0-9a-f]{64})", first.output)
    assert owner
    assert owner[1] in made.output
    second = CliRunner().invoke(main, ["init", "--data", str(tmp_path)])
    assert second.exit_code == 1
    assert "there is a key in" in second.output


async def test_wrong_key_leaves_nothing_that_serves(tmp_path: Path) -> None:
    """What is no private key is refused in one line that does not repeat it."""
    (tmp_path / "key").write_text(encode_npub(SecretKey.generate().pubkey))
    async with bunker_up(tmp_path / "data", "--import-key", f"{tmp_path}/key") as process:
        async with asyncio.timeout(20):
            assert await process.wait() == 1
        assert process.stderr
        said = (await process.stderr.read()).decode()
        assert said.startswith("Error: this is a public key (npub); wanted is")
        assert "npub1" not in said


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


async def test_what_the_key_commands_made_is_taken_up(tmp_path: Path) -> None:
    """A key of `bunker key new` is the one that signs; `up` makes what is missing beside it."""
    installation = Installation(tmp_path)
    installation.signer.mkdir(mode=0o700)
    create_master_key(installation.master_key)
    master = MasterKey.from_file(installation.master_key)
    with NSE(storage=FileStorage(str(installation.keys)), protector=master) as key:
        pubkey = key.generate().pubkey
    master.close()
    async with bunker_up(tmp_path, "--profile", "full") as process:
        uri, before = await uri_of(process)
        assert any(encode_npub(pubkey) in line for line in before)
        async with RemoteSigner.from_uri(uri, timeout=10) as app:
            assert await app.get_public_key() == pubkey


async def test_a_lost_master_key_is_no_new_one(tmp_path: Path) -> None:
    """Keys without what opens them are not passed over, and nothing is made in their place."""
    installation = Installation(tmp_path)
    async with bunker_up(tmp_path) as process:
        await uri_of(process)
    installation.master_key.unlink()
    FileStorage(str(installation.keys)).delete(storage_key(TRANSPORT_NAME))
    async with bunker_up(tmp_path) as process:
        async with asyncio.timeout(20):
            assert await process.wait() == 1
        assert process.stderr
        assert b"is missing, and the key in" in await process.stderr.read()
    assert not installation.master_key.exists()


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


async def test_what_was_typed_is_gone_from_memory(tmp_path: Path) -> None:
    """The process that asked becomes one that never knew: no passphrase is in it."""
    need(os.geteuid() == 0, "another process's memory is read as root")
    passphrase = "a-passphrase-that-is-looked-for!"
    (tmp_path / "passphrase").write_text(passphrase)
    flags = ["--recovery-passphrase-file", f"{tmp_path}/passphrase"]
    async with bunker_up(tmp_path / "data", *flags) as process:
        await uri_of(process)
        assert scan(process.pid, {"passphrase": passphrase.encode()})["passphrase"].total == 0
        # and the scan sees what is there
        assert scan(process.pid, {"path": str(tmp_path).encode()[:32]})["path"].whole > 0


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


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--domain", "https://relay.example.org"), "not a name like relay.example.org"),
        (("--allow", "sign event"), "not a list like sign_event:1"),
        (("--port", "70000"), "not in the range"),
    ],
)
def test_mistake_is_said_before_a_key_is_made(
    tmp_path: Path, flags: tuple[str, ...], said: str
) -> None:
    """An option that could not work is refused at once, and nothing is there afterwards."""
    data = tmp_path / "data"
    result = CliRunner().invoke(main, ["up", "--port", "0", *flags, "--data", str(data)])
    assert result.exit_code != 0
    assert said in result.output
    assert not data.exists()


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
