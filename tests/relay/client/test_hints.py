"""What a client is told of what the relay has, and has not: NIP-45, 62, 67, 77."""

import pytest

from bunker_core.keys import SecretKey
from support.wire import Peer, Start, note

KEY = SecretKey.generate()


async def test_the_end_of_stored_events_says_whether_that_was_all(
    start: Start, stored: str
) -> None:
    """NIP-67: "finish" where no limit has cut anything off, and nothing where one may have."""
    relay = start(config=stored)
    async with Peer(relay.url) as peer:
        for number in range(5):
            assert (await peer.publish(note(KEY, str(number), created_at=1_000 + number)))[0]
        for asked, expected in (
            ({"kinds": [1]}, ["EOSE", "s", ["finish"]]),
            ({"kinds": [1], "limit": 6}, ["EOSE", "s", ["finish"]]),
            ({"kinds": [1], "limit": 5}, ["EOSE", "s"]),
            ({"kinds": [1], "limit": 4}, ["EOSE", "s"]),
            ({"kinds": [1], "limit": 0}, ["EOSE", "s"]),
            ({"kinds": [2]}, ["EOSE", "s", ["finish"]]),
        ):
            await peer.send("REQ", "s", asked)
            assert await peer.until(lambda m: m[0] == "EOSE") == expected


async def test_what_the_relay_does_not_do_is_answered(start: Start) -> None:
    """NIP-77 with NEG-ERR, NIP-62 with OK false, an unknown verb with its name."""
    relay = start()
    async with Peer(relay.url) as peer:
        for message in (["NEG-OPEN", "n", {}, "61"], ["NEG-MSG", "n", "61"], ["NEG-CLOSE", "n"]):
            await peer.send(*message)
            said = await peer.next()
            assert said[:2] == ["NEG-ERR", "n"]
            assert said[2].startswith("unsupported:")
        vanish = note(KEY, kind=62, tags=(("relay", "ALL_RELAYS"),))
        accepted, reason = await peer.publish(vanish)
        assert not accepted
        assert "NIP-62" in reason
        for verb, shown in (("HELLO", " HELLO"), ("\u202e", ""), ("X" * 21, ""), ("nsec1", "")):
            await peer.send(verb, "s")
            assert await peer.next() == ["NOTICE", f"invalid: unknown message type{shown}"]


async def test_a_relay_without_a_database_counts_nothing(start: Start) -> None:
    """COUNT is CLOSED, as the document does not list it; a 0 would be taken for the truth."""
    relay = start("--profile", "bunker")
    async with Peer(relay.url) as peer:
        await peer.send("COUNT", "c", {})
        said = await peer.next()
        assert said[:2] == ["CLOSED", "c"]
        assert said[2].startswith("unsupported:")


@pytest.mark.parametrize("hidden", ["a count", "an end"])
async def test_messages_of_others_are_no_part_of_it(start: Start, hidden: str) -> None:
    """Neither tells a stranger that there is something that they may not see."""
    relay = start()
    async with Peer(relay.url) as peer:
        assert (await peer.publish(note(KEY, kind=1059, tags=(("p", "a" * 64),))))[0]
        if hidden == "a count":
            await peer.send("COUNT", "c", {})
            assert await peer.next() == ["COUNT", "c", {"count": 0}]
        else:
            await peer.send("REQ", "s", {"limit": 1})
            assert await peer.next() == ["EOSE", "s", ["finish"]]
