"""`bunker key`, as a person or a script runs it: each command is a process of its own."""

import asyncio
import os
import pty
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from bunker_core.errors import BunkerError
from bunker_core.event import EventTemplate, verify
from bunker_core.keys import SecretKey
from bunker_core.nips.nip19 import encode_nsec
from bunker_signer.control.server import ControlServer as SignerServer
from bunker_signer.nse import NSE, FileStorage
from bunker_signer.nse.wrap.master_key import MasterKey
from signer.nse.conftest import Token
from support import commands

# privateKeyFromSeedWords of nostr-tools for the words of NIP-06, account 1
ACCOUNT_1 = "3790c23940f62b23754115ef70f16e63cca8e9015a532b8a891171ccdadcf910"
EVENT = EventTemplate(1, "hello", (), 1700000000)
Command = Callable[[Mapping[str, Any], int, bytearray | None], Awaitable[Any]]
COMMAND = [sys.executable, "-m", "bunker_signer.cli.key"]


class Cli:
    def __init__(self, data: Path) -> None:
        self.data = data

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        words = [arguments[0], "--data", str(self.data), *arguments[1:]]
        return commands.run(words, stdin, module="bunker_signer.cli.key:key")

    def __call__(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run a command that has to succeed; return what it printed."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def refuse(self, *arguments: str, stdin: bytes = b"") -> str:
        """Run a command that has to fail with one line; return that."""
        before = self.files()
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode != 0, done.stdout.decode()
        message = done.stderr.decode()
        assert message.count("\n") == 1, message
        assert "Traceback" not in message
        assert self.files() == before
        return message

    def refuse_running(self, *arguments: str) -> str:
        """As `refuse`, beside a running signer whose socket can't be read as a file."""
        done = self.run(*arguments)
        message = done.stderr.decode()
        assert done.returncode != 0
        assert message.count("\n") == 1, message
        return message

    def files(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.data.rglob("*") if path.is_file()}

    def pubkey(self, name: str = "default") -> str:
        with NSE(storage=FileStorage(self.data / "keys"), name=name) as nse:
            return nse.get_public_key()


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    (tmp_path / "data").mkdir()
    return Cli(tmp_path / "data")


@pytest.fixture
def secrets(tmp_path: Path) -> Callable[..., str]:
    """Return the path of a file with these secrets, a line each."""

    def write(*lines: str) -> str:
        path = tmp_path / f"secrets{len(list(tmp_path.iterdir()))}"
        path.write_text("".join(f"{line}\n" for line in lines))
        return str(path)

    return write


def nsec() -> tuple[str, str]:
    key = SecretKey.generate()
    secret = bytearray(32)
    key.copy_secret(secret)
    return encode_nsec(secret), key.pubkey


def test_new_key_signs(cli: Cli) -> None:
    """A key made by the command opens with the master key file that it made, and signs."""
    printed = cli("new")
    assert cli.pubkey() in printed
    master = MasterKey.from_file(cli.data / "master.key")
    with NSE(storage=FileStorage(cli.data / "keys"), protector=master) as nse:
        verify(nse.sign(EVENT))
    assert (cli.data / "master.key").stat().st_mode & 0o777 == 0o600
    assert "already" in cli.refuse("new")


def test_import_nsec_everywhere_but_argv(cli: Cli, tmp_path: Path) -> None:
    """An nsec is taken from a file and from standard input, and refused as an argument."""
    text, pubkey = nsec()
    path = tmp_path / "nsec"
    path.write_text(text + "\n")
    cli("import", "--name", "file", str(path))
    cli("import", "--name", "stdin", "-", stdin=text.encode())
    assert cli.pubkey("file") == cli.pubkey("stdin") == pubkey
    message = cli.refuse("import", "--name", "argument", text)
    assert "command line" in message
    assert text not in message


def at_the_prompt(cli: Cli) -> tuple[int, int, bytes]:
    """Run the import at a terminal; return its process, the terminal, and what it shows."""
    child, terminal = pty.fork()
    if child == 0:
        arguments = [*COMMAND, "import", "--data", str(cli.data)]
        os.execv(arguments[0], arguments)
    shown = b""
    while not shown.endswith(b"nsec, ncryptsec, hex or seed words: "):
        shown += os.read(terminal, 1024)
    return child, terminal, shown


def test_import_at_a_hidden_prompt(cli: Cli) -> None:
    """At a terminal the nsec is asked for and not shown."""
    text, pubkey = nsec()
    child, terminal, shown = at_the_prompt(cli)
    os.write(terminal, text.encode() + b"\n")
    try:
        while chunk := os.read(terminal, 1024):
            shown += chunk
    except OSError:  # the terminal's other side is closed
        pass
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert status == 0, shown.decode()
    assert text.encode() not in shown
    assert cli.pubkey() == pubkey


@pytest.mark.parametrize("text", ["", "nsec1", "npub1", "hello", "\xff", "x" * 9000])
def test_import_refuses_other_text(cli: Cli, text: str) -> None:
    """What is no private key is refused in one line that does not repeat it."""
    message = cli.refuse("import", "-", stdin=text.encode("latin-1"))
    assert len(text) < 6 or text not in message


def test_backup_and_restore(cli: Cli, secrets: Callable[..., str], tmp_path: Path) -> None:
    """What export writes, import reads, as the same key."""
    cli("new")
    text = cli("export", "--secret-file", secrets("backup phrase"))
    assert text.startswith("ncryptsec1")
    output = tmp_path / "backup"
    cli("export", "--secret-file", secrets("backup phrase"), "--output", str(output))
    assert output.stat().st_mode & 0o777 == 0o600
    again = ("export", "--secret-file", secrets("x"), "--output", str(output))
    assert "exists" in cli.refuse(*again)
    arguments = ("import", str(output), "--name", "restored", "--secret-file")
    assert "wrong passphrase" in cli.refuse(*arguments, secrets("wrong phrase"))
    cli(*arguments, secrets("backup phrase"))
    assert cli.pubkey("restored") == cli.pubkey()


def test_import_seed_words(cli: Cli) -> None:
    """NIP-06's words give NIP-06's key, and another account another one."""
    words = b"leader monkey parrot ring guide accident before fence cannon height naive bean\n"
    cli("import", "-", stdin=words)
    cli("import", "--name", "second", "--account", "1", "-", stdin=words)
    assert cli.pubkey() == "17162c921dc4d2518f9a101db33695df1afb56ab82f5ff3e5da6eec3ca5cd917"
    assert cli.pubkey("second") == SecretKey(bytes.fromhex(ACCOUNT_1)).pubkey
    said = cli.refuse("import", "--name", "third", "-", stdin=words.replace(b"bean", b"been"))
    assert "number 12 is not in" in said
    assert "monkey" not in said


def test_an_nsec_goes_out_only_when_asked_twice(cli: Cli, tmp_path: Path) -> None:
    """By --nsec and by the end of the npub; then it is the key that was imported."""
    text, _ = nsec()
    cli("import", "-", stdin=text.encode())
    npub = next(word for word in cli("show", "--no-qr").split() if word.startswith("npub1"))
    for arguments in (("--confirm", "qqqqqqqq"), ("--confirm", "")):
        assert "nothing was shown" in cli.refuse("export", "--nsec", *arguments)
    asked = cli.run("export", "--nsec")
    assert asked.returncode != 0
    assert b"nsec1" not in asked.stdout + asked.stderr
    assert "Error" in cli.run("export", "--confirm", npub[-8:]).stderr.decode()
    assert cli("export", "--nsec", "--confirm", npub[-8:]).strip() == text
    output = tmp_path / "nsec"
    assert cli("export", "--nsec", "--confirm", npub[-8:], "--output", str(output)) == ""
    assert output.read_text().strip() == text
    assert output.stat().st_mode & 0o777 == 0o600


def test_nothing_is_asked_without_a_terminal(cli: Cli) -> None:
    """A script that gives no secret is told how to, instead of waiting or echoing."""
    assert "--secret-file" in cli.refuse("new", "--guard", "passphrase")


def test_slots(cli: Cli, secrets: Callable[..., str]) -> None:
    """A passphrase slot is added, opens, and takes the place of the master key."""
    cli("new")
    cli("add-slot", "passphrase kdf=scrypt", "--secret-file", secrets("correct horse"))
    assert "passphrase" in cli("slots")
    cli("remove-slot", "k1", "--with", "passphrase", "--secret-file", secrets("correct horse"))
    assert "raw" not in cli("slots")
    wrong = secrets("wrong")
    assert "passphrase" in cli.refuse("add-slot", "passphrase", "--secret-file", wrong)
    cli("rotate", "--secret-file", secrets("correct horse"))
    cli("rotate", "--secret-file", secrets("correct horse"))


def test_rotate_needs_every_slot(cli: Cli, secrets: Callable[..., str]) -> None:
    """A rotation with only one of two protectors is refused; with both it is done."""
    cli(
        "new", "--guard", "raw", "--guard", "passphrase kdf=scrypt", "--secret-file", secrets("a b")
    )
    assert "k2" in cli.refuse("rotate", "--with", "raw")
    cli("rotate", "--secret-file", secrets("a b"))
    cli("export", "--with", "raw", "--secret-file", secrets("x y"))


def test_device_alone(cli: Cli, token_guard: str, secrets: Callable[..., str]) -> None:
    """A key in a token alone is made only when that is said to be wanted."""
    message = cli.refuse("new", "--guard", token_guard, "--secret-file", secrets("1234"))
    assert "recovery slot" in message
    cli("new", "--guard", token_guard, "--unrecoverable", "--secret-file", secrets("1234"))
    assert "in hardware" in cli("show", "--no-qr")
    message = cli.refuse("rotate", "--with", token_guard, "--secret-file", secrets("9999"))
    assert "wrong PIN" in message
    assert "such as" in cli.refuse("export")
    cli("rotate", "--with", token_guard, "--secret-file", secrets("1234"))


@pytest.fixture
def token_guard(token: Token) -> str:
    return f"pkcs11 module={token.module} token={token.label}"


def test_list_and_show(cli: Cli) -> None:
    """Keys are listed by name, a damaged one with what is wrong, and shown with a QR code."""
    cli("new")
    cli("new", "--name", "bot")
    (cli.data / "keys" / "nse_blob_broken").write_text("{")
    listed = cli("list").splitlines()
    assert [line.split()[0] for line in listed] == ["bot", "broken", "default"]
    assert "damaged" in listed[1]
    shown = cli("show")
    assert "npub1" in shown
    assert "█" in shown
    assert any(level in shown for level in ("memfd_secret", "mlock", "plain"))
    assert "█" not in cli("show", "--no-qr")


def test_migrate(cli: Cli) -> None:
    """A version 1 key is migrated in place and keeps its public key."""
    (cli.data / "master.key").write_text("5f" * 32)
    with NSE("5f" * 32, FileStorage(cli.data / "keys")) as nse:
        pubkey = nse.generate(blob_version=1).pubkey
    assert "version 1" in cli("slots")
    assert "raw" in cli("migrate")
    assert cli.pubkey() == pubkey
    assert [path.name for path in (cli.data / "keys").iterdir()] == ["nse_blob"]


def test_rescue(cli: Cli, secrets: Callable[..., str]) -> None:
    """A key with a damaged slot is rescued by the other one."""
    guards = ("--guard", "raw", "--guard", "passphrase kdf=scrypt")
    cli("new", *guards, "--secret-file", secrets("a b"))
    pubkey = cli.pubkey()
    path = cli.data / "keys" / "nse_blob"
    blob = orjson.loads(path.read_bytes())
    blob["slots"][1]["ct"] = "00" * 48
    path.write_bytes(orjson.dumps(blob, option=orjson.OPT_SORT_KEYS))
    export = ("export", "--secret-file", secrets("of the backup"))
    assert "rescue" in cli.refuse(*export)
    cli.refuse("rescue", "--with", "passphrase", "--secret-file", secrets("a b"))
    cli("rescue")
    assert cli(*export).startswith("ncryptsec1")
    assert cli.pubkey() == pubkey


def test_destroy_asks(cli: Cli) -> None:
    """A key is removed only by who types the end of its npub."""
    cli("new")
    with NSE(storage=FileStorage(cli.data / "keys")) as nse:
        npub = nse.get_npub()
    assert "nothing was removed" in cli.refuse("destroy", "--confirm", "qqqqqqqq")
    assert cli.run("destroy", stdin=b"qqqqqqqq\n").returncode != 0
    assert cli.pubkey()
    cli("destroy", stdin=f"{npub[-8:]}\n".encode())
    assert "no key found" in cli.refuse("show")


async def test_lock_and_unlock_the_signer(cli: Cli, secrets: Callable[..., str]) -> None:
    """Where `bunker signer run` listens, it is the one that is told, by key and passphrase."""
    cli("new", "--name", "bot")
    told: list[tuple[str, Mapping[str, Any], bytes | None]] = []

    def command(name: str) -> Command:
        async def note(said: Mapping[str, Any], _uid: int, secret: bytearray | None) -> Any:
            told.append((name, said, None if secret is None else bytes(secret)))
            if secret == bytearray(b"wrong"):
                raise BunkerError("wrong passphrase")

        return note

    commands = {name: command(name) for name in ("lock", "unlock")}
    by_passphrase = ("unlock", "--name", "bot", "--with", "passphrase", "--secret-file")
    async with SignerServer(cli.data, commands, os.geteuid()):
        await asyncio.to_thread(cli, "lock", "--name", "bot")
        await asyncio.to_thread(cli, "unlock", "--name", "bot")
        await asyncio.to_thread(cli, *by_passphrase, secrets("right"))
        done = await asyncio.to_thread(cli.run, *by_passphrase, secrets("wrong"))
        other = await asyncio.to_thread(cli.run, "unlock", "--name", "bot", "--with", "keyring")
    assert done.stderr == b"Error: wrong passphrase\n"
    assert b"master key or a passphrase" in other.stderr
    assert told == [
        ("lock", {"key": "bot"}, None),
        ("unlock", {"key": "bot"}, None),
        ("unlock", {"key": "bot"}, b"right"),
        ("unlock", {"key": "bot"}, b"wrong"),
    ]


def test_no_signer_to_lock(cli: Cli) -> None:
    """Without a running signer, lock and unlock say so."""
    cli("new")
    assert "running" in cli.refuse("lock")
    assert "running" in cli.refuse("unlock")


@pytest.mark.parametrize(
    "arguments",
    [
        ("show",),
        ("new", "--guard", "nonsense"),
        ("new", "--guard", "passphrase colour=red"),
        ("new", "--guard", "tpm2 pcrs"),
        ("new", "--guard", "'"),
        ("new", "--guard", "raw file=/nonexistent/master"),
        ("new", "--name", "a/b"),
        ("import", "/nonexistent/nsec"),
        ("new", "--guard", "passphrase", "--secret-file", "/dev/null"),
        ("new", "--guard", "passphrase", "--secret-file", "/nonexistent/secrets"),
    ],
)
def test_bad_input_is_one_line(cli: Cli, arguments: tuple[str, ...]) -> None:
    """Whatever is wrong with the arguments is one line, and nothing is written."""
    (cli.data / "keys").mkdir()
    cli.refuse(*arguments)


def test_process_is_hardened(cli: Cli) -> None:
    """A command that handles keys leaves no core dump."""
    child, terminal, _ = at_the_prompt(cli)
    status = Path(f"/proc/{child}/limits").read_text()
    os.close(terminal)
    os.waitpid(child, 0)
    core = next(line for line in status.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]
