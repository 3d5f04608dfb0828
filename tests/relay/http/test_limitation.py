"""NIP-11 `limitation`: the numbers that an owner sets are published, and are what holds."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from bunker_core.event import EventTemplate, VerifiedEvent, sign_event
from bunker_core.keys import SecretKey
from bunker_core.nips import nip13, nip40
from support.wire import Peer, Refused, RelayProcess, note, request, running_relay

CONFIG = """
limits.max_limit = 7
limits.default_limit = 4
limits.created_at_lower_limit = 3600
limits.created_at_upper_limit = 30
limits.min_pow_difficulty = 6
limits.max_event_tags = 3
limits.max_content_length = 50
limits.max_subscriptions = 2
limits.max_message_bytes = 2000
"""


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    """A relay with small limits."""
    with running_relay(tmp_path_factory.mktemp("limits") / "data", config=CONFIG) as relay:
        yield relay


@pytest.fixture(scope="module")
def limitation(relay: RelayProcess) -> dict[str, Any]:
    """What its document says."""
    reply = httpx.get(relay.http_url, headers={"Accept": "text/html;q=0.5, Application/Nostr+JSON"})
    return dict(reply.json()["limitation"])


def _mined(key: SecretKey, bits: int, **fields: Any) -> VerifiedEvent:
    """Return an event whose id has at least `bits` leading zero bits."""
    created_at = fields.pop("created_at", int(time.time()))
    tags = fields.pop("tags", ())
    for number in range(100_000):
        nonce = ("nonce", str(number), str(bits))
        template = EventTemplate(kind=1, tags=(nonce, *tags), created_at=created_at, **fields)
        event = sign_event(template, key)
        if nip13.difficulty(event.id) >= bits:
            return event
    raise AssertionError


async def test_every_number_holds(relay: RelayProcess, limitation: dict[str, Any]) -> None:
    """At each published number an event passes, one beyond it is refused with a reason."""
    key = SecretKey.generate()
    bits = limitation["min_pow_difficulty"]
    now = int(time.time())
    content, tags = limitation["max_content_length"], limitation["max_event_tags"]
    past, ahead = limitation["created_at_lower_limit"], limitation["created_at_upper_limit"]
    good = [
        _mined(key, bits, content="x" * content),
        _mined(key, bits, tags=(("t", "x"),) * (tags - 1)),
        _mined(key, bits, created_at=now - past + 20),
        _mined(key, bits, created_at=now + ahead - 5),
    ]
    bad = {
        "large": [
            _mined(key, bits, content="x" * (content + 1)),
            _mined(key, bits, tags=(("t", "x"),) * tags),
        ],
        "created_at": [
            _mined(key, bits, created_at=now - past - 20),
            _mined(key, bits, created_at=now + ahead + 60),
        ],
    }
    async with Peer(relay.url) as peer:
        for event in good:
            assert await peer.publish(event) == (True, "")
        for word, events in bad.items():
            for event in events:
                accepted, reason = await peer.publish(event)
                assert not accepted
                assert reason.startswith("invalid:")
                assert word in reason


async def test_the_limits_of_a_query(relay: RelayProcess, limitation: dict[str, Any]) -> None:
    """A greater limit is cut to `max_limit`, none at all is `default_limit`."""
    key = SecretKey.generate()
    default, most = limitation["default_limit"], limitation["max_limit"]
    assert (default, most) == (4, 7)
    async with Peer(relay.url) as peer:
        for number in range(most + 2):
            assert (await peer.publish(_mined(key, 6, content=str(number))))[0]
        mine = {"authors": [key.pubkey]}
        assert len(await peer.ids(mine)) == default
        assert len(await peer.ids({**mine, "limit": most + 1})) == most
        for number in range(limitation["max_subscriptions"]):
            await peer.subscribe(str(number), {"limit": 0})
        with pytest.raises(Refused, match=r"^CLOSED rate-limited:"):
            await peer.subscribe("more", {"limit": 0})


async def test_the_size_of_a_message(relay: RelayProcess, limitation: dict[str, Any]) -> None:
    """`max_message_length` bytes are read, one more closes."""
    size = limitation["max_message_length"]
    async with Peer(relay.url) as peer:
        assert (await peer.answer('["X"]'.ljust(size)))[0] == "NOTICE"
        await peer.send_text('["X"]'.ljust(size + 1))
        assert await peer.close_code() == 1009


async def test_proof_of_work(relay: RelayProcess, limitation: dict[str, Any]) -> None:
    """NIP-13: too little work, or work for a lower target, is refused; signing needs none."""
    key = SecretKey.generate()
    bits = limitation["min_pow_difficulty"]
    async with Peer(relay.url) as peer:
        idle = next(e for n in range(100) if nip13.difficulty((e := note(key, str(n))).id) < bits)
        assert (await peer.publish(idle))[1].startswith("pow: difficulty")
        lucky = next(
            event
            for n in range(10_000)
            if nip13.difficulty((event := note(key, tags=(("nonce", str(n), "2"),))).id) >= bits
        )
        assert (await peer.publish(lucky))[1].startswith("pow: committed")
        assert (await peer.publish(request(key, key.pubkey)))[0]


@pytest.mark.parametrize(
    ("event_id", "bits"),
    [
        ("000000000e9d97a1ab09fc381030b346cdd7a142ad57e6df0b46dc9bef6c7e2d", 36),  # NIP-13
        ("002f" + "0" * 60, 10),
        ("7" + "0" * 63, 1),
        ("f" * 64, 0),
        ("0" * 64, 256),
    ],
)
def test_difficulty(event_id: str, bits: int) -> None:
    """The examples of NIP-13, and the ends of the scale."""
    assert nip13.difficulty(event_id) == bits


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0", 0), ("1600000000", 1_600_000_000), ("9" * 16, 2**53 - 1), ("9" * 17, None), ("", None),
     ("-1", None), ("1.5", None), ("²", None), ("٣", None), (" 1", None)],
)  # fmt: skip
def test_expiration(value: str, expected: int | None) -> None:
    """A number of seconds, or nothing."""
    event = note(SecretKey.generate(), tags=(("expiration", value),))
    assert nip40.expiration(event) == expected
