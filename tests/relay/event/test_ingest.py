"""The way of a published event: what waits to be stored is bounded in bytes."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from _wire import note, request
from bunker_core.keys import SecretKey
from bunker_relay.config import Config, Grace, Limits
from bunker_relay.event.hub import Hub
from bunker_relay.event.ingest import Ingest
from bunker_relay.event.lists import Lists
from bunker_relay.event.policy import Policy
from bunker_relay.metrics import Counters
from bunker_relay.nodes.bus import Alone
from bunker_relay.store.outcome import Outcome, StoreError

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

    def __init__(self, receivers: int) -> None:
        self.receivers = receivers

    def publish(self, event: "Event", answer: "Callable[[int], None] | None") -> bool:
        """Answer at once."""
        assert answer is not None
        answer(self.receivers)
        return True


@pytest.mark.parametrize(("receivers", "held"), [(0, 1), (1, 0), (-1, 0)])
def test_what_another_node_did_not_deliver_is_held_again(
    tmp_path: Path, receivers: int, held: int
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
