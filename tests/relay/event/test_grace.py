"""The grace buffer, alone and over the wire."""

import pytest

from bunker_core.event import Event
from bunker_core.filter import Filter
from bunker_core.keys import SecretKey
from bunker_relay.config import Grace
from bunker_relay.event.grace import GraceBuffer
from bunker_relay.event.hub import Subscription
from relay.support.frames import Frames
from support.wire import Peer, Start, note, request

SIGNER, CLIENT = SecretKey.generate(), SecretKey.generate()


def _subscription(*filters: Filter) -> Subscription:
    return Subscription("s", filters, Frames(), lambda _event, _filter: True)


def _for(pubkey: str) -> Subscription:
    return _subscription(Filter(tags=(("p", frozenset({pubkey})),)))


def test_it_is_off_by_default() -> None:
    """Nothing is held unless the owner asked for it."""
    assert not GraceBuffer(Grace()).hold(request(CLIENT, SIGNER.pubkey), 0.0)


def test_an_event_is_handed_out_at_most_once() -> None:
    """The first subscription that names the recipient gets it, the second nothing."""
    buffer = GraceBuffer(Grace(seconds=30))
    events = [request(CLIENT, SIGNER.pubkey) for _ in range(3)]
    for number, event in enumerate(events):
        assert buffer.hold(event, float(number))
        assert buffer.hold(event, float(number))  # the sender repeats itself
    assert buffer.hand_out(_for("a" * 64), 3.0) == []
    assert buffer.hand_out(_for(SIGNER.pubkey), 3.0) == events
    assert buffer.hand_out(_for(SIGNER.pubkey), 3.0) == []
    assert buffer.size == 0


def test_an_event_is_forgotten_after_its_seconds() -> None:
    """It is held for `seconds`, not longer, and its bytes are free again."""
    buffer = GraceBuffer(Grace(seconds=30))
    buffer.hold(request(CLIENT, SIGNER.pubkey), 0.0)
    assert buffer.hand_out(_for("a" * 64), 30.0) == []
    assert buffer.size == 0
    assert buffer.hand_out(_for(SIGNER.pubkey), 30.0) == []


def test_its_bytes_are_bounded() -> None:
    """When it is full it takes nothing more; what it has, it keeps."""
    buffer = GraceBuffer(Grace(seconds=30, max_bytes=20_000))
    held = [event for event in _requests(100) if buffer.hold(event, 0.0)]
    assert 0 < len(held) < 100
    assert buffer.size <= 20_000
    assert buffer.hand_out(_for(SIGNER.pubkey), 1.0) == held


def _requests(count: int) -> list[Event]:
    return [request(CLIENT, SIGNER.pubkey, "x" * 500 + str(number)) for number in range(count)]


@pytest.mark.parametrize(
    "item",
    [
        Filter(),
        Filter(kinds=frozenset({24133})),
        Filter(authors=frozenset({CLIENT.pubkey})),
        Filter(tags=(("p", frozenset({SIGNER.pubkey})),), kinds=frozenset({1})),
        Filter(tags=(("p", frozenset({SIGNER.pubkey})),), since=2**40),
    ],
)
def test_only_the_recipients_own_subscription_gets_it(item: Filter) -> None:
    """A subscription has to name the recipient in #p, and to match in all else."""
    buffer = GraceBuffer(Grace(seconds=30))
    buffer.hold(request(CLIENT, SIGNER.pubkey), 0.0)
    assert buffer.hand_out(_subscription(item), 1.0) == []
    assert buffer.size > 0


async def test_a_signer_that_wakes_up_gets_what_waited(start: Start) -> None:
    """Held in memory, delivered once to who comes first, and never written to disk."""
    relay = start(config='grace.seconds = 60\nmute = "reject"')
    event = request(CLIENT, SIGNER.pubkey, "waiting-for-the-signer")
    async with Peer(relay.url) as app, Peer(relay.url) as signer:
        accepted, reason = await app.publish(event)
        assert accepted
        assert reason.startswith("mute:")
        assert not (await app.publish(note(CLIENT, kind=20001)))[0]  # 24133 alone is held
        wanted = {"kinds": [24133], "#p": [SIGNER.pubkey], "limit": 0}
        assert await signer.subscribe("s", wanted) == []
        assert (await signer.unread())[0][2]["id"] == event.id
        accepted, reason = await app.publish(event)
        assert accepted
        assert reason.startswith("duplicate:")
        await signer.subscribe("t", wanted)
        assert await signer.unread() == []
    for path in relay.data.iterdir():
        assert b"waiting-for-the-signer" not in path.read_bytes()


async def test_without_it_mute_reject_says_false(start: Start) -> None:
    """`mute = "reject"` answers OK false, which some clients take for a failure at once."""
    relay = start(environ={"BUNKER_RELAY_MUTE": "reject"})
    async with Peer(relay.url) as app:
        assert await app.publish(request(CLIENT, SIGNER.pubkey)) == (
            False,
            "mute: no one is listening",
        )


def test_the_tags_of_an_event_count() -> None:
    """An event that is all tags takes the room that it takes."""
    buffer = GraceBuffer(Grace(seconds=30, max_bytes=1_500_000))
    tags = (("p", SIGNER.pubkey), *(("t", "x" * 100) for _ in range(4_000)))
    wide = note(CLIENT, kind=24133, tags=tags)
    assert buffer.hold(wide, 0.0)
    assert buffer.size > 600_000
    assert not buffer.hold(note(CLIENT, "x", kind=24133, tags=tags), 0.0)


def test_what_is_held_again_keeps_its_end() -> None:
    """It stands behind what came later and ends later, and is handed out no more for that."""
    buffer = GraceBuffer(Grace(seconds=30))
    first, second = (request(CLIENT, SIGNER.pubkey) for _ in range(2))
    buffer.hold(first, 0.0)
    ((again, held_at),) = buffer.take([SIGNER.pubkey], 1.0)
    buffer.hold(second, 20.0)
    buffer.hold(again, held_at)
    assert buffer.hand_out(_for(SIGNER.pubkey), 35.0) == [second]
