"""The sealed keys of a data directory: which there are, what opens them, and what is not made."""

import os
from pathlib import Path

import pytest

from bunker_core.event import EventTemplate
from bunker_core.keys import SecretKey
from bunker_signer.key.keystore import (
    MASTER_KEY_FILE,
    KeyPair,
    KeyStore,
    MasterKeyError,
    create_master_key,
    key_storage,
    opens_by_master_key,
    remote_signer_pubkey,
    transport_name,
    user_key_names,
)
from bunker_signer.nse import NSE, NSEError
from bunker_signer.nse.wrap.master_key import CREDENTIAL, MasterKey
from bunker_signer.nse.wrap.passphrase import Argon2, Passphrase

TEMPLATE = EventTemplate(1, "", (), 1_700_000_000)
CHEAP = Argon2(memory_kib=64, passes=1)


@pytest.fixture(autouse=True)
def directory(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the data directory, on a machine without systemd's credentials."""
    data.mkdir()
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


def closed(pairs: list[KeyPair]) -> list[str]:
    """Close key pairs; return their names."""
    for pair in pairs:
        pair.transport.close()
        pair.user.close()
    return [pair.name for pair in pairs]


def with_passphrase(data: Path, name: str) -> None:
    """Make a user key that a passphrase opens, and nothing else."""
    phrase = Passphrase("correct horse", CHEAP)
    with NSE(storage=key_storage(data), name=name, protector=phrase) as maker:
        maker.generate()
    phrase.close()


def test_the_first_run_makes_a_key_and_its_master_key(data: Path) -> None:
    """Both keys work at once, and are the same the next time."""
    store = KeyStore(data, None)
    assert (store.names(), user_key_names(data)) == ((), ())
    (pair,) = store.open()
    assert pair.name == "default"
    assert not pair.user.locked
    assert pair.user.sign(TEMPLATE).pubkey != pair.transport.sign(TEMPLATE).pubkey
    user, transport = pair.user.get_public_key(), pair.transport.get_public_key()
    closed([pair])
    assert (data / MASTER_KEY_FILE).stat().st_mode & 0o777 == 0o600
    master = (data / MASTER_KEY_FILE).read_bytes()
    (again,) = store.open()
    assert (again.user.get_public_key(), again.transport.get_public_key()) == (user, transport)
    assert again.user.sign(TEMPLATE).pubkey == user
    assert (data / MASTER_KEY_FILE).read_bytes() == master
    assert remote_signer_pubkey(data, "default") == transport
    closed([again])


def test_a_master_key_that_is_there_is_taken(data: Path) -> None:
    """Also before there is any key, and whatever its name."""
    given = data / "elsewhere"
    create_master_key(given)
    closed(KeyStore(data, given).open())
    assert not (data / MASTER_KEY_FILE).exists()
    master = MasterKey.from_file(given)
    with NSE(storage=key_storage(data)) as user:
        user.unlock(master)
    master.close()


def test_a_lost_master_key_is_not_made_again(data: Path) -> None:
    """A new one would open nothing, and look as if it did."""
    store = KeyStore(data, None)
    closed(store.open())
    (data / MASTER_KEY_FILE).unlink()
    with pytest.raises(MasterKeyError, match=MASTER_KEY_FILE):
        store.open()
    assert not (data / MASTER_KEY_FILE).exists()


def test_the_data_key_is_all_that_stays(data: Path) -> None:
    """The key that carries the traffic holds no master key, and is never locked."""
    for _ in range(2):
        (pair,) = KeyStore(data, None).open()
        assert pair.transport._protector is None
        assert pair.user._protector is None
        assert pair.transport.sign(TEMPLATE)
        closed([pair])


def test_names_are_those_asked_for_once_each(data: Path) -> None:
    """What is missing is made; without names it is all that are there, the default one first."""
    store = KeyStore(data, None)
    assert closed(store.open(("work", "home", "work"))) == ["work", "home"]
    assert store.names() == ("home", "work")
    assert closed(store.open()) == ["home", "work"]
    assert closed(store.open(("zeta", "default"))) == ["zeta", "default"]
    assert user_key_names(data) == ("default", "home", "work", "zeta")
    assert closed(store.open(("home",))) == ["home"]


def test_the_traffics_keys_are_nobodys_names(data: Path) -> None:
    """Each lies beside the key it belongs to, and is not listed."""
    assert transport_name("default") == "remote-signer"
    assert transport_name("work") == "work.remote-signer"
    closed(KeyStore(data, None).open(("default", "work")))
    (data / "keys" / "notes.txt").write_text("not a key")
    held = {path.name for path in (data / "keys").iterdir()}
    assert len(held) == 5
    assert user_key_names(data) == ("default", "work")
    with pytest.raises(NSEError):
        remote_signer_pubkey(data, "home")


@pytest.mark.parametrize("wrong", ["user", "transport"])
def test_a_wrong_master_key_leaves_nothing_behind(data: Path, wrong: str) -> None:
    """Another name's keys are not made either, and those that were open are closed."""
    closed(KeyStore(data, None).open())
    folder = data / "keys"
    names = sorted(folder.iterdir(), key=lambda path: "remote-signer" in path.name)
    names[wrong == "user"].unlink()
    before = sorted(folder.iterdir())
    other = data / "other"
    create_master_key(other)
    with pytest.raises(NSEError):
        KeyStore(data, other).open(("default", "work"))
    assert sorted(folder.iterdir()) == before


def test_what_was_open_is_closed_when_another_key_fails(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the master key with it: nothing stays in memory of a start that failed."""
    opened: list[NSE] = []
    masters: list[MasterKey] = []
    unlock, read = NSE.unlock, MasterKey.from_file

    def fails_late(self: NSE, protector: MasterKey) -> object:
        opened.append(self)
        if len(opened) == 3:
            raise NSEError.__new__(NSEError)
        return unlock(self, protector)

    def from_file(path: Path) -> MasterKey:
        masters.append(read(path))
        return masters[-1]

    closed(KeyStore(data, None).open(("default", "work")))
    monkeypatch.setattr(MasterKey, "from_file", from_file)
    with monkeypatch.context() as patch:
        patch.setattr(NSE, "unlock", fails_late)
        with pytest.raises(NSEError):
            KeyStore(data, None).open(("default", "work"))
    for key in opened:
        with pytest.raises(NSEError, match="closed"):
            key.sign(TEMPLATE)
    closed(KeyStore(data, None).open())
    assert [master._page.alive for master in masters] == [False, False]


def test_a_key_with_a_passphrase_is_returned_locked(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are open; the passphrase opens it, and is wiped, right or wrong."""
    ended: list[Passphrase] = []
    close = Passphrase.close

    def noted(self: Passphrase) -> None:
        ended.append(self)
        close(self)

    with_passphrase(data, "work")
    store = KeyStore(data, None)
    create_master_key(data / MASTER_KEY_FILE)
    home, work = store.open(("home", "work"))
    assert (home.user.locked, work.user.locked) == (False, True)
    assert (opens_by_master_key(home.user), opens_by_master_key(work.user)) == (True, False)
    assert work.transport.sign(TEMPLATE)
    monkeypatch.setattr(Passphrase, "close", noted)
    for text in (b"wrong", b"correct horse"):
        typed = bytearray(text)
        if text == b"wrong":
            with pytest.raises(NSEError):
                store.unlock(work.user, typed)
        else:
            store.unlock(work.user, typed)
        assert not any(typed)
        assert work.user.locked is (text == b"wrong")
    assert work.user.sign(TEMPLATE)
    assert len(ended) == 2
    home.user.lock()
    store.unlock(home.user, None)
    assert home.user.sign(TEMPLATE)
    closed([home, work])


def test_a_key_that_both_open(data: Path) -> None:
    """The master key is one of its slots, so that nobody has to be there."""
    store = KeyStore(data, None)
    (pair,) = store.open()
    phrase = Passphrase("correct horse", CHEAP)
    pair.user.add_slot(phrase)
    phrase.close()
    assert opens_by_master_key(pair.user)
    closed([pair])
    (again,) = store.open()
    assert not again.user.locked
    closed([again])


def test_a_key_of_version_1_opens_by_the_master_key(data: Path) -> None:
    """The reference package's has no slots, and its name is the default one."""

    class Old:
        def slots(self) -> tuple[()]:
            return ()

    assert opens_by_master_key(Old())  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [None, b"short"])
def test_a_master_key_that_can_not_be_read_is_named(data: Path, content: bytes | None) -> None:
    """With its path, which the owner can look at."""
    path = data / "given"
    closed(KeyStore(data, None).open())
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MasterKeyError) as failure:
        KeyStore(data, path).open()
    assert str(path) in str(failure.value)


def test_a_master_key_is_never_written_over(data: Path) -> None:
    """Whatever it opens would be lost."""
    path = data / "given"
    path.write_bytes(b"x" * 32)
    with pytest.raises(MasterKeyError, match="given"):
        create_master_key(path)
    assert path.read_bytes() == b"x" * 32


def test_a_fresh_master_key_is_wiped_from_memory(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written is all there is of it."""
    written: list[bytearray] = []

    def keep(path: Path, key: bytearray, *, replace: bool) -> None:
        assert any(key)
        assert not replace
        path.write_bytes(key)
        written.append(key)

    monkeypatch.setattr("bunker_signer.key.keystore.write_private", keep)
    create_master_key(data / "one")
    create_master_key(data / "two")
    assert [len(key) for key in written] == [32, 32]
    assert not any(b"".join(written))
    assert (data / "one").read_bytes() != (data / "two").read_bytes()


def test_where_the_master_key_comes_from(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was given, else systemd's credential, else the file in the data directory."""
    given, folder = data / "given", data / "credentials"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    ours = KeyStore(data, None)
    assert ours.described.startswith(f"master key {data / MASTER_KEY_FILE} (beside the key")
    folder.mkdir()
    (folder / CREDENTIAL).write_bytes(os.urandom(32))
    theirs = KeyStore(data, None)
    assert theirs.described == f"master key from systemd's credential {CREDENTIAL}"
    assert KeyStore(data, given).described == f"master key {given}"
    closed(theirs.open())
    assert not (data / MASTER_KEY_FILE).exists()
    closed(KeyStore(data, folder / CREDENTIAL).open())


def test_a_pubkey_is_told_of_a_key_that_nobody_opened(data: Path) -> None:
    """Each name has its own remote signer; the master key is not needed."""
    pairs = KeyStore(data, None).open(("default", "work"))
    known = {pair.name: pair.transport.get_public_key() for pair in pairs}
    closed(pairs)
    (data / MASTER_KEY_FILE).unlink()
    assert {name: remote_signer_pubkey(data, name) for name in known} == known
    assert known["default"] != known["work"]
    assert SecretKey.generate().pubkey not in known.values()
