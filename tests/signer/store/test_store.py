"""What the signer remembers, on SQLite and on PostgreSQL."""

import contextlib
import threading
from pathlib import Path

from sqlalchemy import inspect

from bunker_core.nips.nip46 import ClientMetadata, Request
from bunker_signer.policy import Effect, Grant, Rate
from bunker_signer.store import Database, audit_log, clients, grants, journal, settings
from bunker_signer.store.journal import KEEP_ANSWERS, Entry, State

NOW = 1_800_000_000
CLIENT, OTHER = "aa" * 32, "bb" * 32


def admit(database: Database, secret: str = "s", *granted: Grant, key: str = "default") -> None:
    with database.write() as connection:
        clients.add_secret(connection, key, secret, granted, ("ws://r",), NOW)


def pair(
    database: Database, pubkey: str, secret: str, now: int = NOW, key: str = "default"
) -> bool:
    with database.write() as connection:
        return clients.pair(connection, key, pubkey, secret, ClientMetadata("A"), "p", now)


# --- secrets and clients -------------------------------------------------------------------------


def test_a_secret_is_spent_by_one_client(database: Database) -> None:
    """The first client gets what the owner granted; the second nothing."""
    admit(database, "s", Grant("sign_event", "1", uses_left=3))
    assert pair(database, CLIENT, "s")
    assert not pair(database, OTHER, "s")
    with database.read() as connection:
        (held,) = grants.of(connection, "default", CLIENT)
        assert (held.method, held.param, held.uses_left) == ("sign_event", "1", 3)
        client = clients.find(connection, "default", CLIENT)
        assert client is not None
        assert (client.relays, client.requested) == (("ws://r",), "p")
        assert clients.find(connection, "default", OTHER) is None


def test_a_secret_has_an_end_and_a_key(database: Database) -> None:
    """A day later it is worth nothing, and with another key it never was."""
    admit(database)
    assert not pair(database, CLIENT, "s", NOW + clients.SECRET_LIFETIME + 1)
    assert not pair(database, CLIENT, "s", key="work")
    assert not pair(database, CLIENT, "S")
    assert pair(database, CLIENT, "s", NOW + clients.SECRET_LIFETIME)


def test_one_secret_at_the_same_moment(database: Database) -> None:
    """Of many clients that come with a secret at once, exactly one is paired."""
    admit(database)
    start = threading.Barrier(8)
    paired: list[bool] = []

    def client(number: int) -> None:
        start.wait()
        paired.append(pair(database, f"{number:064}", "s"))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(paired) == [False] * 7 + [True]


def test_no_secret_is_stored(tmp_path: Path) -> None:
    """A copy of the database gives nobody a URI."""
    database = Database(tmp_path / "db")
    admit(database, "hunter2-hunter2")
    database.close()
    assert not any(b"hunter2" in path.read_bytes() for path in tmp_path.iterdir())


def test_keys_do_not_share_clients(database: Database) -> None:
    """The same client may be paired with two keys, with other grants."""
    admit(database, "one", Grant("sign_event"))
    admit(database, "two", key="work")
    assert pair(database, CLIENT, "one")
    assert pair(database, CLIENT, "two", key="work")
    with database.write() as connection:
        assert grants.of(connection, "work", CLIENT) == ()
        assert [item.key_name for item in clients.every(connection, "work")] == ["work"]
        assert clients.remove(connection, "default", CLIENT)
        assert not clients.remove(connection, "default", CLIENT)
        assert len(clients.every(connection)) == 1
        assert grants.of(connection, "default", CLIENT) == ()


def test_last_seen_and_relays(database: Database) -> None:
    """Facts about a client change, time only forward."""
    admit(database)
    pair(database, CLIENT, "s")
    with database.write() as connection:
        before = clients.find(connection, "default", CLIENT)
        assert before is not None
        clients.see(connection, before, NOW + 100)
        clients.see(connection, before, NOW + 70)
        clients.set_relays(connection, "default", CLIENT, ["ws://new"])
        client = clients.find(connection, "default", CLIENT)
        assert client is not None
        assert (client.last_seen, client.relays) == (NOW + 100, ("ws://new",))
        assert not clients.rename(connection, "default", OTHER, "x")


# --- grants --------------------------------------------------------------------------------------


def test_grants_are_kept_with_their_limits(database: Database) -> None:
    """Everything about a grant comes back, and its uses are counted."""
    rich = Grant("nip44_decrypt", OTHER, Effect.ALLOW, NOW + 9, 2, Rate(5, 60))
    with database.write() as connection:
        grants.put(connection, "default", CLIENT, rich, NOW)
        (held,) = grants.of(connection, "default", CLIENT)
        assert held == Grant(
            "nip44_decrypt", OTHER, Effect.ALLOW, NOW + 9, 2, Rate(5, 60), 0, 0, held.id
        )
        grants.use(connection, held, NOW)
        (held,) = grants.of(connection, "default", CLIENT)
        assert (held.uses_left, held.window_start, held.window_used) == (1, NOW, 1)
        grants.put(connection, "default", CLIENT, Grant("nip44_decrypt", OTHER, Effect.DENY), NOW)
        (held,) = grants.of(connection, "default", CLIENT)
        assert (held.effect, held.uses_left, held.rate) == (Effect.DENY, None, None)
        assert grants.remove(connection, held.id)
        assert not grants.remove(connection, held.id)


# --- journal -------------------------------------------------------------------------------------


def entry(digest: str, state: State = State.OPEN, at: int = NOW) -> Entry:
    return Entry(digest, "default", CLIENT, "{}", "ws://r", state, at, "", "")


def test_an_event_is_new_once(database: Database) -> None:
    """An event id is remembered for as long as it could be replayed."""
    with database.write() as connection:
        assert journal.mark_handled(connection, "e" * 64, NOW)
        assert not journal.mark_handled(connection, "e" * 64, NOW)
        journal.clean(connection, NOW + 10, 10)
        assert not journal.mark_handled(connection, "e" * 64, NOW)
        journal.clean(connection, NOW + 11, 10)
        assert journal.mark_handled(connection, "e" * 64, NOW)


def test_a_request_moves_one_way(database: Database) -> None:
    """An answer is written once, and nothing that is answered is approved again."""
    with database.write() as connection:
        journal.add(connection, entry("d"))
        assert journal.approve(connection, "d", "owner")
        assert journal.answer(connection, "d", "first")
        assert not journal.answer(connection, "d", "second")
        assert not journal.approve(connection, "d", "owner")
        found = journal.find(connection, "d")
        assert found is not None
        assert (found.state, found.answer, found.decided_by) == (State.ANSWERED, "first", "owner")
        assert journal.finish(connection, "d")
        assert not journal.finish(connection, "d")
        assert not journal.answer(connection, "unknown", "x")


def test_what_is_undone_is_found(database: Database) -> None:
    """After a restart: what is open, approved or not delivered; the oldest first."""
    with database.write() as connection:
        for number, state in enumerate(State):
            journal.add(connection, entry(state.value, state, NOW - number))
        found = [item.state for item in journal.undone(connection)]
        assert found == [State.ANSWERED, State.APPROVED, State.OPEN]
        journal.clean(connection, NOW + KEEP_ANSWERS - 1, 0)
        assert [item.state for item in journal.undone(connection)] == [State.APPROVED, State.OPEN]


def test_a_client_takes_its_requests_along(database: Database) -> None:
    """A revoked client leaves nothing that could still be approved."""
    admit(database)
    pair(database, CLIENT, "s")
    with database.write() as connection:
        journal.add(connection, entry("d"))
        clients.remove(connection, "default", CLIENT)
        assert not journal.approve(connection, "d", "owner")
        assert journal.undone(connection) == ()


def test_digests_tell_requests_apart() -> None:
    """Another key, client, id, method or parameter is another request."""
    request = Request("1", "sign_event", ("x",))
    digests = {
        journal.digest_of("default", CLIENT, request),
        journal.digest_of("work", CLIENT, request),
        journal.digest_of("default", OTHER, request),
        journal.digest_of("default", CLIENT, Request("2", "sign_event", ("x",))),
        journal.digest_of("default", CLIENT, Request(1, "sign_event", ("x",))),
        journal.digest_of("default", CLIENT, Request("1", "nip44_encrypt", ("x",))),
        journal.digest_of("default", CLIENT, Request("1", "sign_event", ("y",))),
    }
    assert len(digests) == 7
    assert journal.digest_of("default", CLIENT, request) in digests


def test_audit_and_states_on_this_database(database: Database) -> None:
    """The log is one chain here too, and a key's state is kept and forgotten."""
    for number in range(3):
        with database.write() as connection:
            audit_log.append(connection, NOW + number, "lock", "default", decided_by="idle")
    with database.write() as connection:
        assert audit_log.check(connection)[0] == 3
        settings.set_key_state(connection, "default", "locked")
        assert settings.get_key_state(connection, "default") == "locked"
        settings.set_key_state(connection, "default", None)
        assert settings.get_key_state(connection, "default") is None
        assert inspect(connection).has_table("audit")


def test_entries_of_one_transaction_are_one_chain(database: Database) -> None:
    """Also after one that was not committed: its end is forgotten with it."""
    with contextlib.suppress(ZeroDivisionError), database.write() as connection:
        audit_log.append(connection, NOW, "lock", "lost")
        raise ZeroDivisionError
    for _ in range(2):
        with database.write() as connection:
            for number in range(3):
                audit_log.append(connection, NOW + number, "lock", "default")
    with database.read() as connection:
        assert audit_log.check(connection)[0] == 6


def test_requests_are_counted_by_day_and_client(database: Database) -> None:
    """The chart's numbers: requests alone, from a time on, of all clients or one."""
    day = NOW // 86400
    with database.write() as connection:
        for at, action, client in (
            (day * 86400 - 1, "request", CLIENT),
            (day * 86400, "request", CLIENT),
            (day * 86400 + 86399, "request", CLIENT),
            (day * 86400 + 86400, "request", OTHER),
            (day * 86400, "pair", CLIENT),
        ):
            audit_log.append(connection, at, action, "default", client_pubkey=client)
    with database.read() as connection:
        since = day * 86400
        assert audit_log.requests_by_day(connection, since) == {
            (day, CLIENT): 2,
            (day + 1, OTHER): 1,
        }
        assert audit_log.requests_by_day(connection, since, OTHER) == {(day + 1, OTHER): 1}
        assert audit_log.requests_by_day(connection, since - 1, CLIENT) == {
            (day - 1, CLIENT): 1,
            (day, CLIENT): 2,
        }


def test_relays_of_clients_are_told_once(database: Database) -> None:
    """The relays of the clients of some keys, however many talk there."""
    with database.write() as connection:
        for number, (key, relays) in enumerate(
            [
                ("a", ("ws://1", "ws://2")),
                ("a", ("ws://1", "ws://2")),
                ("a", ()),
                ("b", ("ws://3",)),
            ]
        ):
            name = f"{number:064x}"
            clients.add(connection, key, name, ClientMetadata(), relays, "", (), NOW)
    with database.read() as connection:
        assert clients.relays(connection, ["a"]) == ("ws://1", "ws://2")
        assert set(clients.relays(connection, ["a", "b"])) == {"ws://1", "ws://2", "ws://3"}
        assert clients.relays(connection, []) == ()
