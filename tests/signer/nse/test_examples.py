"""The examples, run as their texts say."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from bunker_core.event import EventTemplate, parse_event_json, verify
from bunker_core.keys import SecretKey
from bunker_core.nips import nip44
from bunker_core.nips.nip19 import parse_pubkey
from bunker_signer.nse import NSE, FileStorage, NSEError, NSEErrorCode
from bunker_signer.nse.wrap.master_key import MasterKey

EXAMPLES = Path(__file__).parents[3] / "examples"


def run(name: str, *arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, check=False)


def test_bot(tmp_path: Path) -> None:
    """The bot makes its key once and signs with the same one each time."""
    master = tmp_path / "master.key"
    master.write_bytes(bytes(range(32)))
    first = run("nse_bot.py", master, tmp_path / "keys", "good morning")
    assert first.stderr.startswith(b"made npub1")
    second = run("nse_bot.py", master, tmp_path / "keys", "good evening")
    assert second.stderr == b""
    events = [verify(parse_event_json(done.stdout)) for done in (first, second)]
    assert [event.content for event in events] == ["good morning", "good evening"]
    assert events[0].pubkey == events[1].pubkey
    master.write_bytes(bytes(32))
    wrong = run("nse_bot.py", master, tmp_path / "keys", "hello")
    assert wrong.returncode == 1
    assert wrong.stderr.count(b"\n") == 1


def test_server(tmp_path: Path) -> None:
    """The server keeps users apart, signs, encrypts, and answers every line with one."""
    peer = SecretKey.generate()
    requests = [
        {"user": "alice", "do": "new"},
        {"user": "bob", "do": "new"},
        {"user": "alice", "do": "sign", "event": {"kind": 1, "content": "hello"}},
        {"user": "bob", "do": "encrypt", "peer": peer.pubkey, "text": "secret"},
        {"user": "carol", "do": "sign", "event": {"kind": 1}},
        {"user": "alice", "do": "sign", "event": {"kind": "x"}},
        {"user": "alice", "do": "dance"},
        [],
    ]
    lines = [b"correct horse battery staple", *map(orjson.dumps, requests), b"{"]
    done = run("nse_server.py", tmp_path / "keys", stdin=b"\n".join(lines) + b"\n")
    assert done.returncode == 0, done.stderr.decode()
    answers = [orjson.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(lines) - 1
    alice, bob = (parse_pubkey(answer["npub"]) for answer in answers[:2])
    assert alice != bob
    assert verify(parse_event_json(orjson.dumps(answers[2]))).pubkey == alice
    key = nip44.conversation_key(peer.shared_x(bob))
    assert nip44.decrypt(answers[3]["payload"], key) == "secret"
    assert all("error" in answer for answer in answers[4:])
    again = run("nse_server.py", tmp_path / "keys", stdin=b"wrong\n" + lines[3] + b"\n")
    assert b"passphrase" in again.stdout


def test_rotation(tmp_path: Path) -> None:
    """After the rotation the new master key opens the same key, and the old one nothing."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(bytes(range(32)))
    new.write_bytes(bytes(range(1, 33)))
    storage = FileStorage(tmp_path / "keys")
    with NSE(storage=storage, protector=MasterKey.from_file(old)) as nse:
        pubkey = nse.generate(blob_version=1).pubkey
    done = run("nse_rotation.py", tmp_path / "keys", old, new)
    assert done.returncode == 0, done.stderr.decode()
    with NSE(storage=storage, protector=MasterKey.from_file(new)) as nse:
        assert nse.sign(EventTemplate(1)).pubkey == pubkey
    with NSE(storage=storage, protector=MasterKey.from_file(old)) as nse:
        with pytest.raises(NSEError) as raised:
            nse.sign(EventTemplate(1))
        assert raised.value.code is NSEErrorCode.DECRYPTION_FAILED
