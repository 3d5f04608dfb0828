"""The first run of `bunker up`: what is asked, at a terminal and without one, and what it makes."""

import asyncio
import os
import pty
import re
import select
import signal
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from bunker.cli import main
from bunker.installation import Installation
from bunker_client import RemoteSigner
from bunker_core.keys import SecretKey
from bunker_core.nips.nip19 import encode_npub, encode_nsec
from bunker_signer.key.keystore import TRANSPORT_NAME, create_master_key
from bunker_signer.nse import NSE, FileStorage
from bunker_signer.nse.model import storage_key
from bunker_signer.nse.wrap.master_key import MasterKey
from signer.nse.scan.scan import scan
from support.require import need
from support.up import bunker_up, uri_of

GOOD = "correct horse battery staple"


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
    result = CliRunner().invoke(main, [*command, option, "/dev/zero"])
    assert result.output == "Error: /dev/zero is too long for a key or a passphrase\n"


@pytest.mark.parametrize("command", ["status", "up", "init", "recovery x", "backup x", "key new"])
def test_data_that_can_not_be_a_folder_is_said_in_one_line(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever would have looked into it: a home that is a file, or is somebody else's."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", f"{tmp_path}/file")
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, command.split())
    assert (result.exit_code, result.output.count("\n")) == (1, 1), result.output
    assert result.output.startswith("Error: ")
    assert isinstance(result.exception, SystemExit)


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
