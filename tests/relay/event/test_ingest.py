"""The way of a published event: what waits to be stored is bounded in bytes."""

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from bunker_core.keys import SecretKey
from bunker_relay.config import Config, Grace, Limits
from bunker_relay.event.hub import Hub
from bunker_relay.event.ingest import Ingest
from bunker_relay.event.lists import Lists
from bunker_relay.event.policy import Policy
from bunker_relay.metrics import Counters
from bunker_relay.nodes.bus import Alone
from bunker_relay.store.outcome import Outcome, StoreError
from support.wire import note, request

if TYPE_CHECKING:
    from collections.abc import Callable

    from bunker_core.event import Event
    from bunker_relay.store.store import Store

KEY = SecretKey.generate()
MIB = 2**20


class Slow:
    """A store that commits when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[Outcome | StoreError], None]] = []

    def save(self, _event: "Event", done: "Callable[[Outcome | StoreError], None]") -> None:
        """Take an event."""
        self.waiting.append(done)


def test_what_waits_to_be_stored_is_bounded_in_bytes(tmp_path: Path) -> None:
    """For each address and in all; what is stored makes room, and small events still pass."""
    config = Config(data=tmp_path, limits=Limits(max_content_length=2 * MIB))
    store = Slow()
    policy = Policy(config, Lists(tmp_path / "lists"))
    ingest = Ingest(config, policy, Hub(), cast("Store", store), Counters())
    answers: list[bytes] = []

    def submit(address: str, size: int) -> bytes | None:
        event = note(KEY, "x" * size)
        return ingest.submit(event, address, set(), float(event.created_at), answers.append)

    taken = 0
    while submit("a", MIB) is None:
        taken += 1
        assert ingest.is_full_for("a") == (taken >= 8)
    assert taken == 15
    assert b'false,"rate-limited: too many events wait' in (submit("a", MIB) or b"")
    for address in "bcdef":
        while submit(address, MIB) is None:
            taken += 1
    assert taken == 47, "three quarters of 64 MiB"
    assert submit("g", 100) is None
    assert ingest.unsaved < 64 * MIB
    for done in store.waiting:
        done(Outcome.SAVED)
    assert (ingest.unsaved, len(answers)) == (0, taken + 1)


class Elsewhere(Alone):
    """Another node, which says how many of its clients got an event."""

    alone = False

    def __init__(self, receivers: int | None) -> None:
        """None: it can't be reached at all."""
        self.receivers = receivers

    def publish(self, event: "Event", answer: "Callable[[int], None] | None") -> bool:
        """Answer at once."""
        assert answer is not None
        if self.receivers is not None:
            answer(self.receivers)
        return self.receivers is not None


@pytest.mark.parametrize(("receivers", "held"), [(0, 1), (1, 0), (-1, 0), (None, 1)])
def test_what_another_node_did_not_deliver_is_held_again(
    tmp_path: Path, receivers: int | None, held: int
) -> None:
    """Somebody subscribed there, as it said, and had gone again: the next one gets it."""
    config = Config(data=tmp_path, grace=Grace(seconds=30))
    policy = Policy(config, Lists(tmp_path / "lists"))
    ingest = Ingest(config, policy, Hub(), None, Counters())
    event = request(KEY, KEY.pubkey)
    assert ingest.grace.hold(event, 1_000.0)
    ingest.bus = Elsewhere(receivers)
    ingest.wake([KEY.pubkey], 1_001.0)
    assert len(ingest.grace.take([KEY.pubkey], 1_002.0)) == held


def _passed(ingest: Ingest, key: SecretKey, to: str, address: str, now: float, text: str) -> bool:
    event = request(key, to, text)
    frame = ingest.submit(event, address, set(), now, lambda _: None)
    assert frame is not None
    return b"rate-limited:" not in frame


@pytest.mark.parametrize(("signers", "burst", "per_second"), [(True, 300, 10), (False, 3000, 100)])
def test_junk_of_one_address_leaves_the_signer_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signers: bool, burst: int, per_second: int
) -> None:
    """1,000 a second from keys that nobody knows: the burst, and then a fixed rate, get through.

    An app that was answered before keeps its own share at that address, and a new app comes from
    another one. A signer looks at 500 strangers a second while it waits for a pairing.
    """
    monkeypatch.setattr("bunker_relay.event.ingest.verify", lambda _: None)
    signer, app = SecretKey.generate(), SecretKey.generate()
    config = Config(data=tmp_path, signers=(signer.pubkey,) if signers else ())
    ingest = Ingest(config, Policy(config, Lists(tmp_path / "lists")), Hub(), None, Counters())
    start = time.time()
    assert _passed(ingest, app, signer.pubkey, "bad", start, "first")
    assert _passed(ingest, signer, app.pubkey, "good", start, "answer")
    junk = request(SecretKey.generate(), signer.pubkey)
    passed = 0
    for number in range(10_000):
        now = start + number / 1000
        unknown = f"{number:08x}".ljust(64, "0")
        event = replace(junk, id=unknown, pubkey=unknown)
        frame = ingest.submit(event, "bad", set(), now, lambda _: None)
        passed += b"rate-limited:" not in (frame or b"")
        if number % 500 == 0:
            assert _passed(ingest, app, signer.pubkey, "bad", now, f"known {number}")
            assert _passed(ingest, SecretKey.generate(), signer.pubkey, "good", now, f"{number}")
    assert burst <= passed <= burst + 10 * per_second
