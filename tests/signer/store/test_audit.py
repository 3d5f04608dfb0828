"""The audit log: whatever is done to it afterwards is found."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, update

from bunker_signer.store import Database, audit_log
from bunker_signer.store.audit_chain import GENESIS, AuditEntry, ChainError, Ends, verify
from bunker_signer.store.database.schema import audit
from signer.request.support.rig import database_in


def chain(length: int) -> list[AuditEntry]:
    """Return a good chain."""
    entries: list[AuditEntry] = []
    for number in range(1, length + 1):
        previous = entries[-1].hash if entries else GENESIS
        entry = AuditEntry(number, 1000 + number, "request", "default", f"{number:064}")
        entries.append(replace(entry, previous=previous).sealed())
    return entries


def ends(entries: list[AuditEntry]) -> Ends:
    return Ends(1, GENESIS, entries[-1].seq, entries[-1].hash)


def test_good_chain() -> None:
    """An untouched chain is found good, and its last hash is told."""
    entries = chain(5)
    assert verify(entries, ends(entries)) == (5, entries[-1].hash)
    assert verify([]) == (0, GENESIS)


@given(
    st.integers(0, 9), st.sampled_from(["at", "action", "client_pubkey", "outcome", "seq", "hash"])
)
def test_a_changed_entry_is_found(place: int, name: str) -> None:
    """Any field of any entry."""
    entries = chain(10)
    old = getattr(entries[place], name)
    new: Any = old + 1 if isinstance(old, int) else old + "x"
    changed = replace(entries[place], **{name: new})
    with pytest.raises(ChainError):
        verify([*entries[:place], changed, *entries[place + 1 :]], ends(entries))


@given(st.integers(0, 9))
def test_a_removed_entry_is_found(place: int) -> None:
    """Wherever it stood, the first and the last included."""
    entries = chain(10)
    with pytest.raises(ChainError):
        verify([*entries[:place], *entries[place + 1 :]], ends(entries))


@given(st.permutations(range(6)).filter(lambda order: order != list(range(6))))
def test_another_order_is_found(order: list[int]) -> None:
    """Entries that changed places."""
    entries = chain(6)
    with pytest.raises(ChainError):
        verify([entries[place] for place in order], ends(entries))


def test_a_changed_entry_with_a_new_hash_is_found() -> None:
    """Who computes the entry's own hash anew breaks the next one's."""
    entries = chain(4)
    entries[1] = replace(entries[1], outcome="denied").sealed()
    with pytest.raises(ChainError, match="entry 3 does not follow"):
        verify(entries, ends(entries))


def test_an_export_is_verified_alone() -> None:
    """JSON lines of a part of the log can be checked without the database."""
    lines = [entry.to_json() for entry in chain(6)[2:]]
    assert verify(map(AuditEntry.from_json, lines))[0] == 4
    with pytest.raises(ChainError):
        verify(map(AuditEntry.from_json, [lines[0], *lines[2:]]))
    for bad in ("", "[]", "{}", '{"seq":1}'):
        with pytest.raises(ChainError):
            AuditEntry.from_json(bad)


# --- in the database -----------------------------------------------------------------------------


def fill(database: Database, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        with database.write() as connection:
            method = "sign_event" if number % 2 else "nip44_decrypt"
            audit_log.append(
                connection,
                1000 + number,
                "request",
                "default",
                client_pubkey=f"{number % 3:064}",
                method=method,
                outcome="allowed" if number % 5 else "denied: no",
            )


def test_a_fact_that_no_entry_has_is_a_mistake(tmp_path: Path) -> None:
    """It would be in the hash and not in the row, and the chain would be broken."""
    with (
        database_in(tmp_path / "db") as database,
        database.write() as connection,
        pytest.raises(TypeError, match="no colour"),
    ):
        audit_log.append(connection, 1, "request", "default", colour="red")


def test_appended_entries_form_a_chain(tmp_path: Path) -> None:
    """What is appended, by one process or by two, is one chain."""
    with database_in(tmp_path / "db") as database, database_in(tmp_path / "db") as other:
        for _ in range(3):
            fill(database, 2)
            fill(other, 2)
        with database.read() as connection:
            assert audit_log.check(connection)[0] == 12


def test_tampering_in_the_database_is_found(tmp_path: Path) -> None:
    """A row that is changed or gone, at the end too, breaks the chain."""
    for statement in (
        update(audit).where(audit.c.seq == 3).values(outcome="denied"),
        delete(audit).where(audit.c.seq == 3),
        delete(audit).where(audit.c.seq == 6),
        delete(audit).where(audit.c.seq == 1),
        delete(audit),
    ):
        with database_in(tmp_path / "db") as database:
            if not any(True for _ in _entries(database)):
                fill(database, 6)
            with database.write() as connection:
                connection.execute(statement)
            with database.read() as connection, pytest.raises(ChainError):
                audit_log.check(connection)
        (tmp_path / "db").unlink()


def _entries(database: Database) -> list[AuditEntry]:
    with database.read() as connection:
        return list(audit_log.entries(connection))


def test_what_is_let_go_leaves_a_chain(tmp_path: Path) -> None:
    """After retention the rest is verifiable, even when nothing is left, and goes on."""
    with database_in(tmp_path / "db") as database:
        fill(database, 10)
        for before, left in ((1004, 6), (5000, 0)):
            with database.write() as connection:
                audit_log.let_go(connection, before)
            with database.read() as connection:
                assert audit_log.check(connection)[0] == left
        fill(database, 2)
        with database.read() as connection:
            assert audit_log.check(connection)[0] == 2
        assert [entry.seq for entry in _entries(database)] == [11, 12]


def test_a_log_written_anew_is_found_by_a_noted_hash(tmp_path: Path) -> None:
    """Who rewrites everything has a good chain, but not with the hash that was noted before."""
    with database_in(tmp_path / "one") as database:
        fill(database, 3)
        with database.read() as connection:
            noted = audit_log.check(connection)[1]
        fill(database, 3, start=3)
        with database.read() as connection:
            assert audit_log.check(connection, noted)[0] == 6
        with database.write() as connection:
            audit_log.let_go(connection, 1003)
        with database.read() as connection:
            audit_log.check(connection, noted)
    with database_in(tmp_path / "two") as database:
        fill(database, 7)
        with database.read() as connection, pytest.raises(ChainError, match="written anew"):
            audit_log.check(connection, noted[::-1])


def test_filters(tmp_path: Path) -> None:
    """Entries are found by client, method, outcome and time, the newest ones by number."""
    with database_in(tmp_path / "db") as database:
        fill(database, 30)
        with database.read() as connection:

            def found(last: int | None = None, **wanted: object) -> list[int]:
                chosen = audit_log.AuditFilter(**wanted)  # type: ignore[arg-type]
                return [entry.seq for entry in audit_log.entries(connection, chosen, last)]

            assert len(found()) == 30
            assert found(method="sign_event", last=2) == [28, 30]
            assert found(client_pubkey="0" * 64, since=1025) == [28]
            assert found(outcome="denied") == [1, 6, 11, 16, 21, 26]
            assert found(outcome="%") == []
            assert found(key_name="other") == []
            assert found(until=1001) == [1, 2]
