"""Everything off at once: what is forgotten, what stays for a look back, and the counts."""

from pathlib import Path

import pytest

from bunker_core.keys import SecretKey
from bunker_core.nips.nip46 import ClientMetadata
from bunker_signer.key.panic import empty_console, revoke_everything
from bunker_signer.policy import Grant
from bunker_signer.store import Database, audit_log, clients, grants, settings
from bunker_signer.store.accounts import FILE_NAME, Accounts, Passkey

NOW = 1_700_000_000


def test_nobody_is_connected_afterwards(tmp_path: Path) -> None:
    """No client of any key, no grant, no secret; each is in the audit log with its name."""
    database = Database(tmp_path / "signer.sqlite3")
    apps = [(key, SecretKey.generate().pubkey) for key in ("default", "work")]
    with database.write() as connection:
        for key, pubkey in apps:
            said = ClientMetadata(name=f"app of {key}")
            granted = [Grant("sign_event", "1")]
            clients.add(connection, key, pubkey, said, (), "", granted, NOW - 9)
        for secret in ("one", "two", "three"):
            clients.add_secret(connection, "default", secret, (), (), NOW - 9)
    counts = revoke_everything(database, iter(["default", "work"]), "test", NOW)
    assert counts == {"sessions": 2, "secrets": 3}
    with database.read() as connection:
        assert clients.every(connection) == ()
        assert [grants.of(connection, *app) for app in apps] == [(), ()]
        assert not clients.awaits_pairing(connection, NOW)
        assert settings.is_panicked(connection)
        assert {settings.get_key_state(connection, key) for key, _ in apps} == {"locked"}
        log = list(audit_log.entries(connection))
    assert {(item.at, item.decided_by) for item in log} == {(NOW, "test")}
    revoked = [item for item in log if item.action == "revoke"]
    assert sorted((item.key_name, item.client_pubkey) for item in revoked) == apps
    assert {item.param for item in revoked} == {"app of default", "app of work"}
    assert all(item.param == f"app of {item.key_name}" for item in revoked)
    assert {item.outcome for item in revoked} == {"panic"}
    panics = [item for item in log if item.action == "panic"]
    assert [item.key_name for item in panics] == ["default", "work"]
    assert {item.outcome for item in panics} == {"2 sessions and 3 unused URIs revoked"}
    database.close()


def test_nobody_is_let_into_the_console(tmp_path: Path) -> None:
    """A console that never was is none, and is not made."""
    assert empty_console(tmp_path) == {"devices": 0, "passkeys": 0}
    assert not list(tmp_path.iterdir())
    accounts = Accounts(tmp_path / FILE_NAME)
    tokens = [accounts.bind(accounts.new_link(NOW), name, NOW) for name in ("a", "b")]
    accounts.add_passkey(Passkey(b"id", b"key", 0, "c", NOW))
    assert empty_console(tmp_path) == {"devices": 2, "passkeys": 1}
    assert [accounts.device(token or "", NOW) for token in tokens] == [None, None]
    assert accounts.passkeys() == ()
    accounts.close()


def test_a_console_that_can_not_be_emptied_is_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All else is done by then, and what follows is done all the same."""
    (tmp_path / FILE_NAME).write_bytes(b"no database" * 100)
    assert empty_console(tmp_path) == {"devices": 0, "passkeys": 0}
    assert "the console's devices could not be forgotten" in caplog.text


def test_the_consoles_database_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it could not be emptied."""
    closed: list[Accounts] = []
    close = Accounts.close

    def noted(self: Accounts) -> None:
        closed.append(self)
        close(self)

    monkeypatch.setattr(Accounts, "close", noted)
    Accounts(tmp_path / FILE_NAME).close()
    empty_console(tmp_path)
    assert len(closed) == 2
