"""Each try of a reply, by relays that answer by hand and pauses that end by hand."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from typing import Any

import pytest

from bunker_core.event import Event
from bunker_core.keys import SecretKey
from bunker_core.nips.channel import Scheme
from bunker_core.nips.nip46 import Response
from bunker_core.pool.publication import Publication, Receipt
from bunker_signer.key.access import Access
from bunker_signer.key.identity import Identity
from bunker_signer.key.keystore import KeyStore
from bunker_signer.process.metrics import Metrics
from bunker_signer.request import delivery
from bunker_signer.request.delivery import (
    IN_FLIGHT,
    IN_FLIGHT_EACH,
    PARKED_FOR,
    RETRIES,
    TOO_MUCH,
    Courier,
)
from bunker_signer.request.reply import Reply
from bunker_signer.store import Database

OWN, SECOND, THEIRS = "wss://own.example", "wss://second.example", "wss://theirs.example"
CLIENT = SecretKey.generate().pubkey
NOW = 1_700_000_000


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Identity]:
    data = tmp_path_factory.mktemp("signer")
    (pair,) = KeyStore(data, None).open()
    database = Database(data / "signer.sqlite3")
    held = Identity("default", pair.transport, pair.user, Access("default", pair.user, database))
    yield held
    held.close()
    database.close()


class Sent(Publication):
    """An event on its way, and how long it was waited for."""

    def __init__(self, event: Event, targets: tuple[str, ...]) -> None:
        super().__init__(event, targets, lambda _: None)
        self.targets = targets
        self.waits: list[tuple[float, Collection[str] | None]] = []
        self.forgotten = False

    async def delivered(
        self, timeout: float, any_of: Collection[str] | None = None
    ) -> Receipt | None:
        self.waits.append((timeout, any_of))
        return await super().delivered(timeout, any_of)

    def forget(self) -> None:
        self.forgotten = True

    def says(self, reason: str = "", *, url: str = OWN, accepted: bool | None = None) -> None:
        """Record what a relay answers; without a reason it has delivered."""
        took = not reason if accepted is None else accepted
        self.record(Receipt(url, took, reason))


class Post:
    """A courier, its relays and its pauses."""

    def __init__(self, identity: Identity, own: Iterable[str] = (OWN,)) -> None:
        self.identity = identity
        self.sent: list[Sent] = []
        self.fails = False
        self.open_relays: tuple[str, ...] = (OWN, SECOND, THEIRS)
        self.own = tuple(own)
        self.delivered: list[Reply] = []
        self.too_large: list[tuple[Reply, str]] = []
        self.kept_then: list[int] = []
        self.instead: Reply | None = None
        self.tried = 0
        self.now = float(NOW)
        self.metrics = Metrics()
        self.told: list[bool] = []
        self.metrics.sent = self._told  # type: ignore[method-assign]
        self.pauses: list[float] = []
        self.pausing = 0
        self._pausing: list[asyncio.Event] = []
        pool: Any = self
        self.courier = Courier(
            pool,
            lambda: self.own,
            self.delivered.append,
            self._replace,
            metrics=self.metrics,
            clock=lambda: self.now,
            corrected=lambda: self.now + 60,
            sleep=self._sleep,
        )

    def publish(self, event: Event, targets: Iterable[str]) -> Publication:
        """Take an event, as a pool does."""
        if self.fails:
            raise KeyError("what was signed")
        self.sent.append(Sent(event, tuple(targets)))
        return self.sent[-1]

    def reply(self, rid: str = "1", **settings: Any) -> Reply:
        given = {"relays": (), "not_before": 0, "digest": "d" + rid, **settings}
        response = given.pop("response", Response(rid, "pong"))
        return Reply(self.identity, CLIENT, response, Scheme.NIP44, **given)

    async def send(self, reply: Reply) -> Sent:
        """Send a reply; return it on its way."""
        self.courier.send(reply, self._tried)
        await settle()
        return self.sent[-1]

    async def after(self) -> Sent:
        """End the latest pause; return what is sent then."""
        number = len(self.sent)
        self._pausing[-1].set()
        await settle()
        assert len(self.sent) == number + 1
        return self.sent[-1]

    @property
    def parked(self) -> int:
        return len(self.courier._parked)

    @property
    def free(self) -> int:
        return self.courier._in_flight._free

    async def _replace(self, reply: Reply, reason: str) -> Reply | None:
        self.too_large.append((reply, reason))
        self.kept_then.append(self.parked)
        return self.instead

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._pausing.append(asyncio.Event())
        self.pausing += 1
        try:
            await self._pausing[-1].wait()
        finally:
            self.pausing -= 1

    def _tried(self) -> None:
        self.tried += 1

    def _told(self, *, delivered: bool) -> None:
        self.told.append(delivered)


async def settle() -> None:
    """Let everything happen that waits for nobody."""
    for _ in range(30):
        await asyncio.sleep(0)


async def test_what_the_first_try_delivers_is_over(identity: Identity) -> None:
    """It goes once to each relay of ours and the client's, and nothing is kept of it."""
    post = Post(identity)
    reply = post.reply(relays=(THEIRS, OWN))
    sent = await post.send(reply)
    assert sent.targets == (OWN, THEIRS)
    assert sent.event.created_at == NOW + 60
    assert (post.tried, post.free) == (0, IN_FLIGHT - 1)
    sent.says(url=THEIRS)
    assert (post.tried, post.free) == (1, IN_FLIGHT)
    sent.says()
    await settle()
    assert (post.delivered, post.told, post.parked) == ([reply], [True], 0)
    assert sent.forgotten
    assert (post.pauses, post.courier._tasks, len(post.sent)) == ([], set(), 1)


async def test_a_reply_is_not_older_than_its_request(identity: Identity) -> None:
    """Whatever our clock says."""
    post = Post(identity)
    assert (await post.send(post.reply(not_before=NOW + 61))).event.created_at == NOW + 61
    await post.courier.close()


@pytest.mark.parametrize("said", [["blocked: no"], ["mute: nobody"], []])
async def test_the_first_try_is_over_in_its_time(
    identity: Identity, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether our relay refuses, has nobody listening, or says nothing; then it is kept."""
    monkeypatch.setattr(delivery, "RECEIPT_TIMEOUT", 0.0)
    post = Post(identity)
    post.courier.send(post.reply(), post._tried)
    for reason in said:
        post.sent[0].says(reason, accepted=reason.startswith("mute"))
    await settle()
    await settle()
    assert (post.tried, post.free, post.parked) == (1, IN_FLIGHT, 1)
    assert post.delivered == []
    await post.courier.close()


async def test_without_a_relay_of_ours_nobody_waits_for_the_first_try(identity: Identity) -> None:
    """It is kept, for whichever relay comes back first."""
    post = Post(identity)
    post.open_relays = ()
    sent = await post.send(post.reply())
    assert (post.tried, post.free, post.parked) == (1, IN_FLIGHT, 1)
    assert sent.waits[0][0] == delivery.RECONNECT_TIMEOUT
    sent.says()
    await settle()
    assert (len(post.delivered), post.parked) == (1, 0)


async def test_a_relay_that_is_busy_has_more_time(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is connected and silent is waited for; one that has refused is not."""
    monkeypatch.setattr(delivery, "RECEIPT_TIMEOUT", 0.0)
    post = Post(identity)
    silent = await post.send(post.reply("1"))
    post.courier.send(post.reply("2", relays=(THEIRS,)), post._tried)
    refused = post.sent[-1]
    refused.says("blocked: no")
    await settle()
    assert post.pauses == [RETRIES[0]]
    assert [wait[0] for wait in silent.waits] == [0.0, delivery.PATIENCE]
    assert [wait[0] for wait in refused.waits] == [0.0]
    silent.says()
    await settle()
    assert post.parked == 1
    await post.courier.close()


@pytest.mark.parametrize(("digest", "error"), [("d", ""), ("d", "denied: x"), ("", "")])
async def test_what_is_not_delivered_is_tried_at_growing_intervals(
    identity: Identity, digest: str, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Five times within seconds, then for ten minutes; that it is undelivered is told once."""
    post = Post(identity)
    response = Response("1", error=error) if error else Response("1", "pong")
    sent = await post.send(post.reply(digest=digest, response=response).seal())
    ids = {sent.event.id}
    for tries in range(9):
        sent.says("blocked: no")
        await settle()
        assert post.told == [False] * (tries >= 5)
        assert post.parked == 1
        sent = await post.after()
        ids.add(sent.event.id)
    assert len(ids) == 10, "a relay drops what it has seen"
    assert post.pauses == pytest.approx([*RETRIES, 4.0, 5.2, 6.76, 8.788])
    post.now = NOW + PARKED_FOR
    sent.says("blocked: no")
    await settle()
    sent = await post.after()
    post.now += 1
    sent.says("blocked: no")
    await settle()
    assert (post.parked, post.delivered, len(post.sent)) == (0, [], 11)
    assert (post.courier._tasks, post.courier._trying) == (set(), {})
    assert post.courier._again._held == {}
    assert all(item.forgotten for item in post.sent)
    assert caplog.text.count("reply undelivered") == 1


async def test_a_refusal_that_nobody_takes_is_not_kept(identity: Identity) -> None:
    """A stranger's, which is in no journal, ends with the quick tries."""
    post = Post(identity)
    sent = await post.send(post.reply(digest="", response=Response("1", error="denied: x")))
    for _ in RETRIES:
        sent.says("blocked: no")
        await settle()
        sent = await post.after()
    sent.says("blocked: no")
    await settle()
    assert (post.parked, post.told, len(post.pauses)) == (0, [False], len(RETRIES))


async def test_hope_ends_a_pause_and_begins_anew(identity: Identity) -> None:
    """A relay of the reply's that opens, or a word of its client; not anybody else's."""
    post = Post(identity)
    sent = await post.send(post.reply(relays=(THEIRS,)))
    wakes: list[Callable[[], None]] = [
        partial(post.courier.relay_opened, THEIRS),
        partial(post.courier.relay_opened, OWN),
        partial(post.courier.heard_of, CLIENT),
    ]
    for wake in wakes:
        sent.says("blocked: no")
        sent.says("blocked: no", url=THEIRS)
        await settle()
        number = len(post.sent)
        post.courier.relay_opened(SECOND)
        post.courier.heard_of(SecretKey.generate().pubkey)
        await settle()
        assert len(post.sent) == number
        wake()
        await settle()
        sent = post.sent[-1]
        assert len(post.sent) == number + 1
    assert post.pauses == [RETRIES[0]] * 3
    assert post.pausing == 0
    sent.says()
    await settle()
    assert (post.parked, len(post.delivered)) == (0, 1)
    await post.courier.close()


async def test_where_one_arrives_the_others_follow(identity: Identity) -> None:
    """At once, and whatever they were waiting for."""
    post = Post(identity)
    for rid in "ab":
        (await post.send(post.reply(rid))).says("blocked: no")
        await settle()
    third = await post.send(post.reply("c"))
    third.says()
    await settle()
    assert len(post.sent) == 5
    for sent in post.sent[3:]:
        sent.says()
    await settle()
    assert (post.parked, len(post.delivered)) == (0, 3)


async def test_what_was_too_much_for_our_relay_is_held_back(identity: Identity) -> None:
    """For a second, as often as it says so, without using up a try."""
    post = Post(identity)
    sent = await post.send(post.reply(relays=(THEIRS,)))
    for _ in range(3):
        sent.says("rate-limited: slow down")
        sent.says("blocked: no", url=THEIRS)
        await settle()
        assert sum(post.courier._held_back._held.values()) == 1
        sent = await post.after()
    sent.says("blocked: no")
    sent.says("rate-limited: slow down", url=THEIRS)  # which has no say in our time
    await settle()
    assert post.pauses == [TOO_MUCH] * 3 + [RETRIES[0]]
    assert post.courier._held_back._held == {}
    await post.courier.close()


async def test_what_no_relay_carries_is_replaced(
    identity: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    """At once when all say so, and by what goes instead; once, and with the relay's words."""
    post = Post(identity)
    post.instead = post.reply("instead")
    reply = post.reply(relays=(THEIRS,))
    sent = await post.send(reply)
    sent.says("invalid: event too large")
    sent.says("invalid: content too long", url=THEIRS)
    await settle()
    assert (post.too_large, post.kept_then) == ([(reply, "invalid: event too large")], [0])
    assert "reply too large" in caplog.text
    assert len(post.sent) == 2
    assert (post.pauses, post.parked) == ([], 0)
    post.sent[1].says()
    await settle()
    assert post.delivered == [post.instead]


async def test_what_one_relay_does_not_carry_another_may(identity: Identity) -> None:
    """It is tried as anything else, and replaced when the quick tries are over; or not."""
    post = Post(identity)
    sent = await post.send(post.reply(relays=(THEIRS,)))
    for _ in RETRIES:
        sent.says("invalid: event too large")
        sent.says("blocked: no", url=THEIRS)
        await settle()
        assert post.too_large == []
        sent = await post.after()
    sent.says("invalid: event too large")
    sent.says("blocked: no", url=THEIRS)
    await settle()
    assert [reason for _, reason in post.too_large] == ["invalid: event too large"]
    assert post.kept_then == [0]
    assert (post.parked, len(post.sent)) == (0, len(RETRIES) + 1)


async def test_a_relay_that_is_slow_gets_it_too(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it has answered; unless so many linger already."""
    post = Post(identity, own=(OWN, SECOND))
    sent = await post.send(post.reply())
    sent.says()
    await settle()
    assert (post.parked, sent.forgotten, len(post.courier._tasks)) == (0, False, 1)
    sent.says("blocked: no", url=SECOND)
    await settle()
    assert (sent.forgotten, post.courier._tasks) == (True, set())
    monkeypatch.setattr(delivery, "LINGERING", 1)
    first, second = await post.send(post.reply("1")), await post.send(post.reply("2"))
    first.says()
    second.says()
    await settle()
    assert (first.forgotten, second.forgotten) == (False, True)
    await post.courier.close()
    assert first.forgotten


async def test_deliver_tries_six_times_and_keeps_nothing(identity: Identity) -> None:
    """It says whether a relay has delivered, and holds its place only while one may answer."""
    post = Post(identity)
    trying = asyncio.create_task(post.courier.deliver(post.reply().seal()))
    await settle()
    for _ in RETRIES:
        assert post.free == IN_FLIGHT - 1
        post.sent[-1].says("blocked: no")
        await settle()
        assert post.free == IN_FLIGHT
        await post.after()
    post.sent[-1].says("blocked: no")
    assert await trying is False
    assert (post.pauses, post.parked) == ([*RETRIES], 0)
    assert len({sent.event.content for sent in post.sent}) == len(RETRIES) + 1
    trying = asyncio.create_task(post.courier.deliver(post.reply()))
    await settle()
    post.sent[-1].says()
    assert await trying is True
    assert len(post.sent) == len(RETRIES) + 2
    assert post.sent[-1].waits[0] == (delivery.RECEIPT_TIMEOUT, [OWN])


async def test_so_many_of_one_client_are_on_their_way(identity: Identity) -> None:
    """The next goes when one of them is decided."""
    post = Post(identity)
    for number in range(IN_FLIGHT_EACH + 2):
        await post.send(post.reply(f"{number}"))
    assert (len(post.sent), len(post.courier._tasks)) == (IN_FLIGHT_EACH, 2)
    for sent in post.sent[:2]:
        sent.says()
    await settle()
    assert (len(post.sent), post.courier._tasks) == (IN_FLIGHT_EACH + 2, set())
    for sent in post.sent[2:]:
        sent.says()
    assert (post.free, post.tried) == (IN_FLIGHT, IN_FLIGHT_EACH + 2)


async def test_so_many_of_one_client_are_tried_again(identity: Identity) -> None:
    """The others wait for one of these to end; what is given up for room ends its task."""
    post = Post(identity)
    for number in range(delivery.AGAIN_EACH + 1):
        (await post.send(post.reply(f"{number}"))).says("blocked: no")
        await settle()
    parked = post.courier._parked.of(CLIENT)
    assert [item.retrying for item in parked] == [True] * delivery.AGAIN_EACH + [False]
    assert len(post.pauses) == delivery.AGAIN_EACH
    (await post.send(post.reply("0"))).says("blocked: no")  # the same again: the old one ends
    await settle()
    assert post.parked == delivery.AGAIN_EACH + 1
    assert len(post.courier._trying) == delivery.AGAIN_EACH + 1
    assert [item.retrying for item in parked].count(True) == delivery.AGAIN_EACH + 1
    await post.courier.close()
    assert (post.parked, post.courier._trying) == (0, {})


async def test_what_is_given_up_before_it_began_is_let_go(identity: Identity) -> None:
    """Its relays need not go on trying to send it."""
    post = Post(identity)
    for _ in range(2):
        post.courier.send(post.reply())
        post.sent[-1].says("blocked: no")
    await settle()
    assert (post.sent[0].forgotten, post.parked, len(post.courier._trying)) == (True, 1, 1)
    await post.courier.close()


async def test_after_its_end_nothing_is_kept(identity: Identity) -> None:
    """What is undelivered is in the journal; what was on its way is let go."""
    post = Post(identity)
    waiting = await post.send(post.reply("1"))
    kept = await post.send(post.reply("2"))
    kept.says("blocked: no")
    await settle()
    again = await post.after()
    await post.courier.close()
    assert (kept.forgotten, again.forgotten, post.pausing) == (True, True, 0)
    assert (post.parked, post.courier._tasks) == (0, set())
    waiting.says("blocked: no")
    await settle()
    assert (post.tried, post.parked, post.courier._tasks) == (2, 0, set())


async def test_a_later_try_that_waits_for_the_clients_relay_is_let_go(identity: Identity) -> None:
    """Ours has refused it by then, and the client's says nothing."""
    post = Post(identity)
    sent = await post.send(post.reply(relays=(THEIRS,)))
    for url in (OWN, THEIRS):
        sent.says("blocked: no", url=url)
    await settle()
    again = await post.after()
    again.says("blocked: no")
    await settle()
    assert not again.forgotten
    await post.courier.close()
    assert again.forgotten


@pytest.mark.parametrize("where", ["publish", "delivered"])
async def test_a_fault_costs_one_reply_and_no_place(
    identity: Identity, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is in the log by its type alone, for its text may repeat what was signed."""
    post = Post(identity)
    if where == "publish":
        post.fails = True
        post.courier.send(post.reply(), post._tried)
    else:

        def fail(_: Reply) -> None:
            raise KeyError("what was signed")

        post.courier._on_delivered = fail
        (await post.send(post.reply())).says()
    await settle()
    assert (post.tried, post.free, post.parked) == (1, IN_FLIGHT, 0)
    assert "reply failed" in caplog.text
    assert "what was signed" not in caplog.text
    (record,) = caplog.records
    assert record.__dict__["error"] == "KeyError"
    assert record.__dict__["client"] == CLIENT


async def test_a_fault_of_a_later_try_is_in_the_log(
    identity: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    """And what was kept for it is let go."""
    post = Post(identity)
    sent = await post.send(post.reply())
    sent.says("blocked: no")
    await settle()
    post.fails = True
    post.courier.heard_of(CLIENT)
    await settle()
    assert (post.parked, post.courier._trying, post.free) == (0, {}, IN_FLIGHT)
    assert sent.forgotten
    assert [record.__dict__["error"] for record in caplog.records] == ["KeyError"]
