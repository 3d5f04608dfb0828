"""What can go wrong at the command line: one line that says what and what to do, nothing half done.

Through the real command, in a process of its own.
"""

import os
import subprocess
from pathlib import Path

import pytest

from bunker.harness import running_signer
from bunker_core.keys import SecretKey
from bunker_core.nips.bunker_uri import NostrConnectURI
from bunker_signer.store import Database
from support import commands

DEAD = "ws://127.0.0.1:9"  # the discard port: nobody listens


def bunker(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run `bunker signer` to its end."""
    environment = {key: value for key, value in os.environ.items() if "BUNKER" not in key}
    done = commands.run(["signer", *map(str, arguments)], stdin.encode(), environment)
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def the_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of a failure."""
    assert done.returncode != 0
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


def files(directory: Path) -> set[str]:
    """Return every file below `directory` but the lock, which is empty."""
    return {
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_file() and path.name != "signer.lock"
    }


def contents(directory: Path) -> dict[str, bytes]:
    """Return what is in every file below `directory`."""
    return {path: (directory / path).read_bytes() for path in files(directory)}


async def test_a_wrong_master_key(relay_url: str, data: Path, tmp_path: Path) -> None:
    """A wrong master key is found at the start and changes nothing."""
    async with running_signer(data, [relay_url]):
        pass
    wrong = tmp_path / "wrong.key"
    wrong.write_text("ab" * 32)
    before = contents(data / "keys")
    done = bunker("run", "--data", data, "--relay", relay_url, "--master-key-file", wrong)
    assert "key" in the_line(done)
    assert before == contents(data / "keys")


@pytest.mark.parametrize("content", [b"", b"short", b"zz" * 32, b"ab" * 33, b"\x00" * 31])
def test_a_master_key_that_is_none(
    relay_url: str, data: Path, tmp_path: Path, content: bytes
) -> None:
    """A master key file of another size or shape is refused before a key is made."""
    path = tmp_path / "master.key"
    path.write_bytes(content)
    done = bunker("run", "--data", data, "--relay", relay_url, "--master-key-file", path)
    line = the_line(done)
    assert "master key" in line
    assert not content or content.decode(errors="replace") not in line
    assert files(data) == set()


def test_a_missing_master_key(relay_url: str, data: Path, tmp_path: Path) -> None:
    """A master key file that is named and not there is not made up."""
    path = tmp_path / "nowhere" / "master.key"
    done = bunker("run", "--data", data, "--relay", relay_url, "--master-key-file", path)
    assert str(path) in the_line(done)
    assert files(data) == set()


@pytest.mark.parametrize("content", ["", "{", "{}", "null"])
async def test_a_damaged_key(relay_url: str, data: Path, content: str) -> None:
    """A damaged sealed key is named as such and left as it is."""
    async with running_signer(data, [relay_url]):
        pass
    for path in (data / "keys").iterdir():
        if path.is_file():
            path.write_text(content)
    before = contents(data / "keys")
    assert "damaged" in the_line(bunker("run", "--data", data, "--relay", relay_url))
    assert before == contents(data / "keys")


def test_an_unreachable_relay(data: Path) -> None:
    """A relay that nobody can reach is named with the reason, and no key is made."""
    line = the_line(bunker("run", "--data", data, "--relay", DEAD))
    assert DEAD in line
    assert "refused" in line
    assert files(data) == set()


@pytest.mark.parametrize("url", ["http://example.com", "relay", "", "wss://", "ws://a b"])
def test_a_malformed_relay(data: Path, url: str) -> None:
    """What is no relay URL is refused before anything is touched."""
    assert "relay URL" in the_line(bunker("run", "--data", data, "--relay", url))
    assert not data.exists()


@pytest.mark.parametrize(
    "uri", ["", "nostrconnect://", "bunker://" + "ab" * 32, f"nostrconnect://{'ab' * 32}?relay=x"]
)
def test_a_malformed_invitation(relay_url: str, data: Path, uri: str) -> None:
    """What is no nostrconnect:// URI is refused before anything is touched."""
    done = bunker("run", "--data", data, "--relay", relay_url, "--connect", uri)
    assert "UR" in the_line(done)  # the URI, or the URL of a relay in it
    assert not data.exists()


def test_an_invitation_on_standard_input(relay_url: str, data: Path) -> None:
    """`--connect -` reads the URI from standard input and says the same about a bad one."""
    done = bunker("run", "--data", data, "--relay", relay_url, "--connect", "-", stdin="x\n")
    assert "nostrconnect" in the_line(done)


@pytest.mark.parametrize("allow", ["sign_event:", "sign_event:x", ",", "a b"])
def test_a_malformed_grant(relay_url: str, data: Path, allow: str) -> None:
    """A permission list that can't be read grants nothing and stops the command."""
    done = bunker("run", "--data", data, "--relay", relay_url, "--allow", allow)
    assert "sign_event:1" in the_line(done)
    assert not data.exists()


async def test_a_second_signer(relay_url: str, data: Path) -> None:
    """Two signers on one directory would both answer: the second one says so and ends."""
    async with running_signer(data, [relay_url]):
        done = bunker("run", "--data", data, "--relay", relay_url)
    assert "another signer is running" in the_line(done)


def test_an_unwritable_directory(relay_url: str, tmp_path: Path) -> None:
    """A directory that can't be made is named with the reason."""
    (tmp_path / "file").write_text("")
    done = bunker("run", "--data", tmp_path / "file" / "signer", "--relay", relay_url)
    assert str(tmp_path / "file") in the_line(done)


def test_a_directory_of_another_user(relay_url: str, tmp_path: Path) -> None:
    """A directory without the right to write is named with the reason."""
    tmp_path.chmod(0o500)
    # Root may write everywhere but where the kernel itself refuses.
    place = Path("/sys/bunker") if os.geteuid() == 0 else tmp_path
    line = the_line(bunker("run", "--data", place, "--relay", relay_url))
    assert "Permission denied" in line or "Operation not permitted" in line
    assert str(place) in line


def test_pairing_without_a_signer(data: Path) -> None:
    """`pair` on a directory without keys says how to make them."""
    assert "bunker signer run" in the_line(bunker("pair", "--data", data))
    assert not data.exists()


async def test_a_damaged_database(relay_url: str, data: Path) -> None:
    """A database that is none is named, and not overwritten."""
    data.mkdir()
    (data / "signer.sqlite3").write_bytes(b"not a database, but somebody's file" * 100)
    line = the_line(bunker("run", "--data", data, "--relay", relay_url))
    assert "signer.sqlite3" in line
    assert (data / "signer.sqlite3").read_bytes().startswith(b"not a database")


async def test_an_invitation_nobody_listens_to(relay_url: str, data: Path) -> None:
    """An invitation whose relays are dead ends the start with the relay's name."""
    uri = NostrConnectURI(SecretKey.generate().pubkey, (DEAD,), "0s8j2djs")
    done = bunker("run", "--data", data, "--relay", relay_url, "--connect", uri)
    assert done.returncode != 0
    assert DEAD in done.stderr


@pytest.mark.parametrize("where", ["u:hunter2@h/db", "h/db?user=u&password=hunter2"])
def test_a_password_is_no_argument(data: Path, where: str) -> None:
    """A password on the command line is refused and not repeated."""
    url = f"postgresql+psycopg://{where}"
    done = bunker("clients", "--data", data, "--database", url)
    assert done.returncode == 2
    assert "every user of this machine can read the password" in " ".join(done.stderr.split())
    assert "hunter2" not in done.stderr
    done = bunker("clients", "--data", data, "--database", "postgresql+psycopg://u@127.0.0.1:1/db")
    assert done.returncode == 1


def test_an_empty_audit_log_says_so(data: Path) -> None:
    """Whoever looks at a log in which nothing is gets a sentence, and a pipe gets nothing."""
    data.mkdir(parents=True, exist_ok=True)
    Database(data / "signer.sqlite3").close()
    done = bunker("audit", "--data", data)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "nothing was decided yet, or nothing like this\n"
    assert bunker("audit", "--data", data, "--json").stdout == ""
