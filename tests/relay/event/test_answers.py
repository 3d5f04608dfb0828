"""ingest.py: what is said of an event, counted and passed on, without a socket."""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from bunker_core.errors import InvalidEvent
from bunker_core.event import Event
from bunker_core.filter import Filter
from bunker_core.keys import SecretKey
from bunker_relay.config import Config, Grace, Mute, Rate, Rates
from bunker_relay.event.hub import Hub, Subscription
from bunker_relay.event.ingest import Ingest
from bunker_relay.event.lists import Lists
from bunker_relay.event.policy import Policy
from bunker_relay.metrics import Counters
from bunker_relay.nodes.bus import HAD_IT, UNKNOWN, Alone
from bunker_relay.store.outcome import Outcome, StoreError
from relay.support.frames import Frames
from support.wire import note, request

if TYPE_CHECKING:
    from bunker_relay.event.clock import Clock
    from bunker_relay.store.store import Store

APP, SIGNER = SecretKey.generate(), SecretKey.generate()
ONCE = Rate(per_second=0.001, burst=1)
MUTE, HAD = "mute: no one is listening", "duplicate: already forwarded"
HELD = f"{MUTE} yet, held for a short while"
WOKEN = f"{MUTE} yet, held while the signer is woken"


class Others(Alone):
    """Other nodes, who got what they answer."""

    alone = False

    def __init__(self, answer: int | None) -> None:
        """None: nobody there wants it."""
        self.answer = answer
        self.published: list[str] = []
        self.told: list[dict[str, Any]] = []

    def publish(self, event: Event, answer: Callable[[int], None] | None) -> bool:
        self.published.append(event.id)
        if answer is not None and self.answer is not None:
            answer(self.answer)
        return self.answer is not None

    def tell(self, message: dict[str, Any]) -> None:
        self.told.append(message)


class Disk:
    """A store that says what it is told to: at once by raising, or when it is done."""

    def __init__(self, *says: Outcome | StoreError, full: bool = False) -> None:
        self.says, self.full = list(says), full

    def save(self, _event: Event, done: Callable[[Outcome | StoreError], None]) -> None:
        if self.full:
            raise StoreError("too much")
        done(self.says.pop(0))


class Rig:
    """The way of events, its ends open to the test."""

    def __init__(self, data: Path, store: Disk | None = None, **settings: Any) -> None:
        self.config = Config(data=data, **settings)
        self.hub, self.counters, self.later = Hub(), Counters(), [b""]
        policy = Policy(self.config, Lists(data / "lists"))
        disk = cast("Store | None", store)
        self.ingest = Ingest(self.config, policy, self.hub, disk, self.counters)

    def submit(self, event: Event, now: float | None = None) -> tuple[bool, str]:
        """Return what the OK says, at once or in the end."""
        now = now or time.time()
        frame = self.ingest.submit(event, "192.0.2.1", set(), now, self.later.append)
        name, event_id, accepted, reason = json.loads(frame or self.later.pop())
        assert (name, event_id) == ("OK", event.id)
        return accepted, reason

    def listen(self, *recipients: str) -> Frames:
        """Subscribe, as a client does."""
        sink = Frames()
        tags = (("p", frozenset(recipients)),) if recipients else ()
        subscription = Subscription("s", (Filter(tags=tags),), sink, lambda _event, _filter: True)
        self.hub.add(subscription)
        self.ingest.subscribed(subscription, time.time())
        subscription.release(())
        return sink

    def counted(self, *names: str) -> list[int]:
        return [getattr(self.counters, name) for name in names]


@pytest.fixture
def rig(tmp_path: Path) -> Callable[..., Rig]:
    return lambda *store, **settings: Rig(tmp_path, *store, **settings)


@pytest.mark.parametrize(
    ("outcome", "accepted", "reason"),
    [
        (Outcome.SAVED, True, ""),
        (Outcome.DUPLICATE, True, "duplicate: already have this event"),
        (Outcome.SUPERSEDED, False, "duplicate: a newer version of this event is stored"),
        (Outcome.DELETED, False, "blocked: this event was deleted by its author"),
    ],
)
def test_what_the_store_says_is_told(
    rig: Callable[..., Rig], outcome: Outcome, accepted: bool, reason: str
) -> None:
    """What is new alone goes to those who listen, here and at other nodes."""
    relay, bus = rig(Disk(outcome)), Others(None)
    relay.ingest.bus = bus
    sink, event = relay.listen(), note(APP)
    assert relay.submit(event) == (accepted, reason)
    new = [event.id] * (outcome is Outcome.SAVED)
    assert (len(sink.frames), bus.published) == (len(new), new)
    names = ("events_delivered", "events_accepted", "events_refused")
    assert relay.counted(*names) == [len(new), int(accepted), int(not accepted)]
    assert relay.ingest.unsaved == 0


def test_a_database_that_fails_is_a_trouble_until_it_works(rig: Callable[..., Rig]) -> None:
    """Each event is refused and counted; the owner is told, and told that it is over."""
    relay = rig(Disk(StoreError("disk full"), StoreError("disk full"), Outcome.DUPLICATE))
    for number in (1, 2):
        assert relay.submit(note(APP)) == (False, "error: disk full")
        assert relay.counters.store_errors == number
        assert relay.ingest.troubles.has("database")
    assert relay.submit(note(APP))[0]
    assert not relay.ingest.troubles
    full = rig(Disk(full=True))
    assert full.submit(note(APP)) == (False, "error: too much")
    assert (full.counters.store_errors, full.ingest.unsaved) == (1, 0)
    full.ingest.cant_read(StoreError("too slow"))
    assert not full.ingest.troubles
    full.ingest.cant_read(StoreError("database disk image is malformed"))
    assert full.ingest.troubles.has("damage")


@pytest.mark.parametrize("kind", [20_000, 24_133])
def test_an_ephemeral_event_goes_to_each_who_listens_once(
    rig: Callable[..., Rig], kind: int
) -> None:
    """Sent again it goes to those that came since; with nobody new it was forwarded already."""
    relay, event = rig(), note(APP, kind=kind, tags=(("p", SIGNER.pubkey),))
    for number in (1, 2):
        assert relay.submit(event) == (True, MUTE)
        assert relay.counted("events_muted", "events_accepted") == [number, 0]
    first = relay.listen(SIGNER.pubkey)
    assert relay.submit(event) == (True, "")
    assert relay.submit(event) == (True, HAD)
    second = relay.listen(SIGNER.pubkey)
    assert relay.submit(event) == (True, "")
    assert (len(first.frames), len(second.frames)) == (1, 1)
    assert relay.counted("events_delivered", "events_accepted") == [2, 2]
    relay.ingest.configure(replace(relay.config, mute=Mute.REJECT))
    assert relay.submit(note(APP, kind=kind)) == (False, MUTE)
    strict = rig(mute=Mute.REJECT)
    assert strict.submit(event) == (False, MUTE)


@pytest.mark.parametrize(
    ("answer", "said"),
    [(None, MUTE), (0, MUTE), (2, ""), (UNKNOWN, ""), (HAD_IT, HAD)],
)
def test_what_other_nodes_got_counts(
    rig: Callable[..., Rig], answer: int | None, said: str
) -> None:
    """They are asked when nobody is here, and told of what somebody here got."""
    relay, bus = rig(), Others(answer)
    relay.ingest.bus = bus
    event = note(APP, kind=20_000)
    assert relay.submit(event) == (True, said)
    assert relay.counters.events_accepted == (said == "")
    relay.listen()
    other = note(APP, "other", kind=20_000)
    assert relay.submit(other) == (True, "")
    assert bus.published == [event.id, other.id]


def test_a_request_waits_for_a_signer_that_comes(rig: Callable[..., Rig]) -> None:
    """It is told that it does, whether somebody is woken, and gets it when it subscribes."""
    relay, woken = rig(grace=Grace(seconds=30)), set[str]()
    names: list[str] = []

    def wakes(recipients: Iterable[str]) -> bool:
        names.extend(recipients)
        return bool(woken)

    relay.ingest.wakes = wakes
    events = [request(APP, SIGNER.pubkey) for _ in range(2)]
    assert relay.submit(events[0]) == (True, HELD)
    woken.add(SIGNER.pubkey)
    assert relay.submit(events[1]) == (True, WOKEN)
    assert names == [SIGNER.pubkey] * 2
    assert relay.submit(note(APP, kind=20_000, tags=(("p", SIGNER.pubkey),))) == (True, MUTE)
    assert relay.counters.events_held == 2
    sink = relay.listen(SIGNER.pubkey)
    assert [json.loads(frame)[2]["id"] for frame in sink.frames] == [item.id for item in events]
    assert relay.counters.events_delivered == 2
    assert relay.submit(events[0]) == (True, HAD)
    relay.ingest.configure(relay.config)
    relay.ingest.configure(replace(relay.config, grace=Grace(seconds=0)))
    assert relay.submit(request(APP, APP.pubkey)) == (True, MUTE)


def test_what_was_delivered_is_held_no_more(rig: Callable[..., Rig]) -> None:
    """By whichever way it came: again from its author, or from another node."""
    for again in ("submit", "receive"):
        relay = rig(grace=Grace(seconds=30))
        event = request(APP, SIGNER.pubkey)
        assert relay.submit(event) == (True, HELD)
        everything = Subscription("s", (Filter(),), Frames(), lambda _event, _filter: True)
        relay.hub.add(everything)
        if again == "submit":
            assert relay.submit(event) == (True, "")
        else:
            assert relay.ingest.receive(event, trusted=False, now=time.time()) == 1
        assert relay.listen(SIGNER.pubkey).frames == []


def test_who_has_come_is_told(rig: Callable[..., Rig]) -> None:
    """To what wakes people, and to other nodes, which may hold something; of a recipient alone."""
    relay, bus, come = rig(grace=Grace(seconds=30)), Others(None), list[list[str]]()
    relay.listen(SIGNER.pubkey)
    relay.ingest.awake = lambda recipients: come.append(list(recipients))
    relay.listen()
    relay.listen(SIGNER.pubkey)
    relay.ingest.awake, relay.ingest.bus = None, bus
    relay.listen()
    relay.listen(APP.pubkey)
    assert (come, bus.told) == ([[SIGNER.pubkey]], [{"waking": [APP.pubkey]}])
    off = rig(grace=Grace(seconds=0))
    off.ingest.bus = bus
    off.listen(APP.pubkey)
    assert len(bus.told) == 1


def test_another_nodes_event_is_looked_at_unless_it_is_trusted(rig: Callable[..., Rig]) -> None:
    """A signature that is known is not computed again; a forged one beside it is."""
    relay, event = rig(), note(APP, kind=20_000)
    forged = replace(event, sig="0" * 128)
    with pytest.raises(InvalidEvent):
        relay.ingest.receive(forged, trusted=False, now=time.time())
    assert relay.ingest.receive(event, trusted=False, now=time.time()) == 0
    sink = relay.listen()
    assert relay.ingest.receive(event, trusted=False, now=time.time()) == 1
    assert relay.ingest.receive(event, trusted=False, now=time.time()) == HAD_IT
    with pytest.raises(InvalidEvent):
        relay.ingest.receive(forged, trusted=False, now=time.time())
    assert relay.submit(event) == (True, HAD)
    late = note(APP, kind=20_000, created_at=int(time.time()) + 100_000)
    with pytest.raises(InvalidEvent, match="not taken here"):
        relay.ingest.receive(late, trusted=False, now=time.time())
    assert relay.ingest.receive(late, trusted=True, now=time.time()) == 1
    assert (len(sink.frames), relay.counters.events_delivered) == (2, 2)


@pytest.mark.parametrize(
    ("setting", "kind"),
    [
        ("events_per_ip", 20_000),
        ("events_per_pubkey", 20_000),
        ("signing_per_ip", 24_133),
        ("signing_per_pubkey", 24_133),
    ],
)
@pytest.mark.parametrize("later", [False, True])
def test_a_rate_is_for_its_own_events(
    rig: Callable[..., Rig], setting: str, kind: int, later: bool
) -> None:
    """From the start, or once it is set; what is refused is counted, and leaves the others be."""
    slow = Rates(**{setting: ONCE})
    relay = rig() if later else rig(rates=slow)
    if later:
        relay.ingest.configure(replace(relay.config, rates=slow))
    if "signing" in setting:  # of two who know each other
        assert relay.submit(request(SIGNER, APP.pubkey)) == (True, MUTE)
    tags = (("p", SIGNER.pubkey),)
    said = [relay.submit(note(APP, text, kind=kind, tags=tags)) for text in "abc"]
    slowed = (False, "rate-limited: too many events, slow down")
    assert said == [(True, MUTE), slowed, slowed]
    assert relay.counted("events_refused", "events_muted") == [2, 1 + ("signing" in setting)]
    other = 20_000 if kind == 24_133 else 24_133
    assert relay.submit(note(APP, kind=other, tags=tags)) == (True, MUTE)
    if setting.endswith("pubkey"):
        stranger = note(SecretKey.generate(), kind=kind, tags=tags)
        assert relay.submit(stranger) == (True, MUTE)


def test_a_forged_event_takes_nothing_of_its_authors_rate(rig: Callable[..., Rig]) -> None:
    """Anyone could claim to be them; a known id with another signature is looked at again."""
    relay = rig(rates=Rates(events_per_pubkey=Rate(per_second=0.001, burst=2)))
    event = note(APP, kind=20_000)
    for _ in range(3):
        accepted, reason = relay.submit(replace(event, sig="0" * 128))
        assert (accepted, reason.partition(":")[0]) == (False, "invalid")
    assert relay.submit(event) == (True, MUTE)
    assert relay.submit(replace(event, sig="0" * 128))[1].startswith("invalid:")
    assert relay.submit(event) == (True, MUTE)


def test_a_signature_is_computed_once(
    rig: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that comes again, from its author or from another node, costs a look."""
    computed: list[str] = []
    monkeypatch.setattr("bunker_relay.event.ingest.verify", lambda event: computed.append(event.id))
    for listens in (False, True):
        relay, event = rig(), note(APP, str(listens), kind=20_000)
        if listens:
            relay.listen()
        for _ in range(3):
            relay.submit(event)
            relay.ingest.receive(event, trusted=False, now=time.time())
        assert computed.count(event.id) == 1
    muted = rig()
    muted.submit(event)
    assert muted.ingest.receive(event, trusted=False, now=time.time()) == 0  # nobody had it


@pytest.mark.parametrize("through", ["here", "another node"])
def test_only_signing_makes_an_acquaintance(rig: Callable[..., Rig], through: str) -> None:
    """With whomever it went through; what a signer writes otherwise opens no door."""
    relay = rig(rates=Rates(strangers_per_ip=ONCE), signers=(SIGNER.pubkey,))

    def comes(event: Event) -> None:
        if through == "here":
            assert relay.submit(event) == (True, MUTE)
        else:
            relay.ingest.receive(event, trusted=True, now=time.time())

    comes(note(SIGNER, kind=20_000, tags=(("p", APP.pubkey),)))
    said = [relay.submit(request(APP, SIGNER.pubkey))[0] for _ in range(2)]
    comes(request(SIGNER, APP.pubkey))
    said += [relay.submit(request(APP, SIGNER.pubkey))[0] for _ in range(2)]
    assert said == [True, False, True, True]
    relay.ingest.configure(replace(relay.config, rates=Rates()))
    assert relay.submit(request(SecretKey.generate(), SIGNER.pubkey), time.time() + 600)[0]


def test_the_owners_own_signer_has_no_rate(rig: Callable[..., Rig]) -> None:
    """It answers for all its apps; whom it answers is no stranger to it any more."""
    rates = Rates(signing_per_ip=ONCE, signing_per_pubkey=ONCE, strangers_per_ip=ONCE)
    relay = rig(rates=rates, signers=(SIGNER.pubkey,))
    for _ in range(5):
        assert relay.submit(request(SIGNER, APP.pubkey)) == (True, MUTE)
    assert relay.submit(request(APP, SIGNER.pubkey)) == (True, MUTE)
    assert relay.submit(request(SecretKey.generate(), SIGNER.pubkey)) == (True, MUTE)
    assert relay.submit(request(SecretKey.generate(), SIGNER.pubkey))[0] is False


class Watch:
    """Stands for the clock's judge."""

    doubted = True

    def __init__(self) -> None:
        self.said: list[str] = []

    def from_the_future(self, _event: Event, _trusted: object, _now: float) -> None:
        self.said.append("ahead")

    def agrees(self, _event: Event, _trusted: object, _now: float) -> None:
        self.said.append("agrees")


def test_an_event_says_something_about_the_clock(rig: Callable[..., Rig]) -> None:
    """One that is refused as from the future, and one that is taken while the clock is doubted."""
    relay, watch = rig(), Watch()
    relay.ingest.clock = cast("Clock", watch)
    ahead = note(APP, kind=20_000, created_at=int(time.time()) + 100_000)
    assert relay.submit(ahead) == (False, "invalid: created_at is too far in the future")
    assert watch.said == ["ahead"]
    assert relay.submit(replace(note(APP), sig="0" * 128))[0] is False
    assert watch.said == ["ahead"]
    assert relay.submit(note(APP, kind=20_000))[0]
    watch.doubted = False
    assert relay.submit(note(APP, kind=20_000))[0]
    assert watch.said == ["ahead", "agrees"]
