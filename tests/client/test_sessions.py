"""sessions.py, sealed.py: a pairing that outlives the process."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend

from bunker_client import (
    FileMasterKey,
    KeyringMasterKey,
    RemoteSigner,
    RequestTimeout,
    Session,
    SessionError,
    Sessions,
)
from bunker_client.keys.sealed import seal
from bunker_core.errors import InvalidInput
from bunker_core.event import EventTemplate, verify
from bunker_signer.nse import NSE, MemoryStorage
from support.scripted import scripted_relay, scripted_signer
from support.strategies import secret_key

SESSION = Session(
    secret_key(3), secret_key(4).pubkey, secret_key(5).pubkey, ("wss://relay.example.com",)
)


class MemoryKeyring(KeyringBackend):
    """A keyring of this test alone, behind the keyring package's own interface."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.held[service, username] = password


@pytest.fixture
def os_keyring() -> Iterator[MemoryKeyring]:
    before = keyring.get_keyring()
    backend = MemoryKeyring()
    keyring.set_keyring(backend)
    yield backend
    keyring.set_keyring(before)


def same(one: Session, other: Session) -> bool:
    return (one.client_key.pubkey, one.remote_signer_pubkey, one.user_pubkey, one.relays) == (
        other.client_key.pubkey,
        other.remote_signer_pubkey,
        other.user_pubkey,
        other.relays,
    )


def test_a_kept_session_comes_back(tmp_path: Path) -> None:
    """Saved, listed, loaded by another object, replaced, deleted."""
    directory = tmp_path / "new" / "sessions"
    assert Sessions(directory).names() == ()
    Sessions(directory).save(SESSION, "app")
    assert Sessions(directory).names() == ("app",)
    assert same(Sessions(directory).load("app"), SESSION)
    Sessions(directory).delete("app")
    Sessions(directory).delete("app")
    assert Sessions(directory).names() == ()
    with pytest.raises(SessionError, match="bunker pair"):
        Sessions(directory).load("app")


def test_nobody_else_can_read_the_files_and_they_tell_nothing(tmp_path: Path) -> None:
    """Directory 0700, files 0600, and neither key, user, signer nor relay in the clear."""
    Sessions(tmp_path / "s").save(SESSION)
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700
    files = list((tmp_path / "s").iterdir())
    assert sorted(path.name for path in files) == ["default.session", "master.key"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    text = (tmp_path / "s" / "default.session").read_text()
    secret = bytearray(32)
    SESSION.client_key.copy_secret(secret)
    for told in (secret.hex(), SESSION.user_pubkey, SESSION.remote_signer_pubkey, "example.com"):
        assert told not in text
    assert secret.hex() not in repr(SESSION)


def test_the_sealed_key_is_one_that_the_nse_opens() -> None:
    """The format is the NSE's: its own reader opens it and signs with the key."""
    master_key = bytearray(range(32))
    storage = MemoryStorage()
    storage.put("nse:blob", json.dumps(seal(SESSION.client_key, master_key)))
    with NSE(master_key=master_key, storage=storage) as nse:
        signed = verify(nse.sign(EventTemplate(1, "hello", (), 1)))
        assert signed.pubkey == SESSION.client_key.pubkey


@pytest.mark.parametrize(
    "damage",
    [
        lambda v: "not json",
        lambda v: "[]",
        lambda v: json.dumps({**v, "version": 2}),
        lambda v: json.dumps({**v, "key": None}),
        lambda v: json.dumps({**v, "key": {**v["key"], "iv": "00"}}),
        lambda v: json.dumps({**v, "key": {**v["key"], "ciphertext": "00" * 48}}),
        lambda v: json.dumps({**v, "key": {**v["key"], "pubkey": "00" * 32}}),
        lambda v: json.dumps({**v, "session": "x"}),
        lambda v: json.dumps({**v, "session": None}),
        lambda v: json.dumps({"version": 1}),
        lambda v: "x" * 100_000,
    ],
)
def test_a_damaged_session_is_one_error(tmp_path: Path, damage: object) -> None:
    """Whatever is wrong with the file, the error is a SessionError that says so."""
    sessions = Sessions(tmp_path)
    sessions.save(SESSION)
    path = tmp_path / "default.session"
    assert callable(damage)
    path.write_text(damage(json.loads(path.read_text())))
    with pytest.raises(SessionError, match=r"damaged|changed"):
        sessions.load()


def test_another_master_key_does_not_open_it(tmp_path: Path) -> None:
    """A copied session file is worth nothing without the master key."""
    Sessions(tmp_path).save(SESSION)
    other = FileMasterKey(tmp_path / "other.key")
    other.create()
    with pytest.raises(SessionError, match="wrong master key"):
        Sessions(tmp_path, other).load()
    with pytest.raises(SessionError, match="is gone"):
        Sessions(tmp_path, FileMasterKey(tmp_path / "missing.key")).load()
    (tmp_path / "short.key").write_bytes(b"x" * 31)
    with pytest.raises(SessionError, match="expected 32 bytes"):
        Sessions(tmp_path, FileMasterKey(tmp_path / "short.key")).load()
    with pytest.raises(SessionError, match="File exists"):
        other.create()  # a master key is never overwritten


def test_the_master_key_can_lie_in_the_keyring(tmp_path: Path, os_keyring: MemoryKeyring) -> None:
    """With the OS keyring no master key is on disk; a foreign entry in its place is refused."""
    sessions = Sessions(tmp_path, KeyringMasterKey())
    sessions.save(SESSION)
    assert [path.name for path in tmp_path.iterdir()] == ["default.session"]
    assert same(Sessions(tmp_path, KeyringMasterKey()).load(), SESSION)
    [entry] = os_keyring.held
    os_keyring.held[entry] = "something else"
    with pytest.raises(SessionError, match="something else"):
        sessions.load()


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a/b", "x" * 65])
def test_a_name_can_not_leave_the_directory(tmp_path: Path, name: str) -> None:
    """A session's name is a file name and no more."""
    with pytest.raises(SessionError, match="1 to 64"):
        Sessions(tmp_path).save(SESSION, name)


def test_a_session_is_complete() -> None:
    """Pubkeys in hex and one relay at least."""
    with pytest.raises(InvalidInput, match="hex"):
        Session(secret_key(3), "npub1", SESSION.user_pubkey, SESSION.relays)
    with pytest.raises(InvalidInput, match="relay"):
        Session(secret_key(3), SESSION.user_pubkey, SESSION.user_pubkey, ())


async def test_a_session_is_resumed_without_a_new_pairing_until_logout(tmp_path: Path) -> None:
    """The second run sends no connect; logout deletes the session, whatever the signer says."""
    sessions = Sessions(tmp_path)
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        async with RemoteSigner.from_uri(signer.uri) as first:
            sessions.save(first.session)
        signer.asked.clear()
        async with sessions.signer(timeout=0.5, approval_timeout=0.5) as second:
            assert second.user_pubkey == signer.user.pubkey
            assert (await second.sign_event({"kind": 1})).pubkey == signer.user.pubkey
            assert "connect" not in signer.methods()
            signer.answer = lambda asked: []
            with pytest.raises(RequestTimeout):
                await second.logout()
        assert sessions.names() == ()
