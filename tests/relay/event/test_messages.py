"""Direct messages and gift wraps: for their parties, who have authenticated."""

import secrets
from typing import Any

import pytest

from bunker_core.event import VerifiedEvent
from bunker_core.keys import SecretKey
from support.wire import Peer, Refused, Start, note

ALICE, BOB, EVE = (SecretKey.generate() for _ in range(3))
KINDS = [4, 13, 1059]


def _message(author: SecretKey, recipient: SecretKey, kind: int = 1059) -> VerifiedEvent:
    content = secrets.token_hex(8)  # each is another one
    return note(author, content, kind=kind, tags=(("p", recipient.pubkey), ("t", "x")))


async def test_a_stranger_finds_no_messages(start: Start, stored: str) -> None:
    """Neither stored nor live nor counted, whatever the filter; their parties find their own."""
    relay = start(config=stored)
    messages = [_message(ALICE, BOB, kind) for kind in KINDS]
    async with Peer(relay.url) as alice, Peer(relay.url) as bob, Peer(relay.url) as eve:
        plain = note(ALICE, tags=(("p", BOB.pubkey), ("t", "x")))
        for event in (*messages, plain):
            assert (await alice.publish(event))[0]
        wider: list[dict[str, Any]] = [
            {},
            {"authors": [ALICE.pubkey]},
            {"#p": [BOB.pubkey]},
            {"#t": ["x"]},
            {"#t": ["x"], "authors": [ALICE.pubkey]},
            {"kinds": [1, *KINDS]},
            {"kinds": [1, *KINDS], "limit": 1},
            {"ids": [event.id for event in (*messages, plain)]},
        ]
        narrow = [{"kinds": KINDS}, {"kinds": [1059], "#p": [BOB.pubkey]}, {"kinds": [4]}]
        for asked in narrow:
            with pytest.raises(Refused, match=r"^CLOSED auth-required:"):
                await eve.subscribe("s", asked)
        for _ in range(2):  # without a key, and with one that is no party
            for asked in wider:
                assert await eve.ids(asked) == [plain.id], asked
                await eve.send("COUNT", "c", asked)
                assert (await eve.until(lambda m: m[0] == "COUNT"))[2]["count"] == 1
            assert (await eve.authenticate(EVE))[0]
        assert [await eve.ids(asked) for asked in narrow] == [[], [], []]
        for peer, key in ((alice, ALICE), (bob, BOB)):
            assert (await peer.authenticate(key))[0]
            for asked in wider:
                count = 1 if asked.get("limit") else 4
                assert len(await peer.ids(asked)) == count, asked
            await peer.send("COUNT", "c", {})
            assert (await peer.until(lambda m: m[0] == "COUNT"))[2]["count"] == 4
        await bob.subscribe("live", {"#p": [BOB.pubkey], "limit": 0})
        await eve.subscribe("live", {"#p": [BOB.pubkey], "limit": 0})
        late = _message(ALICE, BOB)
        ephemeral = _message(ALICE, BOB, 21059)
        for event in (late, ephemeral):
            assert (await alice.publish(event))[0]
        assert {(await bob.delivered("live"))["id"] for _ in range(2)} == {late.id, ephemeral.id}
        assert await eve.unread() == []


async def test_a_relay_may_show_them_to_all(start: Start) -> None:
    """For clients that can't authenticate."""
    relay = start(config="guard_messages = false")
    async with Peer(relay.url) as peer:
        message = _message(ALICE, BOB)
        assert (await peer.publish(message))[0]
        assert await peer.ids({"kinds": [1059]}) == [message.id]


async def test_a_wrap_is_deleted_by_its_recipient(start: Start, stored: str) -> None:
    """Its author's key is thrown away (NIP-59); nobody else deletes it, and it does not return."""
    relay = start(config=stored)
    async with Peer(relay.url) as peer:
        assert (await peer.authenticate(BOB))[0]
        wrap, direct = _message(ALICE, BOB), _message(ALICE, BOB, 4)
        for event in (wrap, direct):
            assert (await peer.publish(event))[0]
        for key in (EVE, BOB):
            assert len(await peer.ids({"#p": [BOB.pubkey]})) == 2
            tags = (("e", wrap.id), ("e", direct.id))
            assert (await peer.publish(note(key, kind=5, tags=tags)))[0]
        assert await peer.ids({"#p": [BOB.pubkey]}) == [direct.id]
        assert (await peer.publish(wrap))[1].startswith("blocked:")


async def test_a_private_relay_may_be_an_inbox(start: Start) -> None:
    """Strangers may write messages to those who publish there, and nothing else."""
    config = f'signers = ["{ALICE.pubkey}"]\nallow = ["{BOB.pubkey}"]\n'
    for inbox in (False, True):
        relay = start("--profile", "private", config=config + f"inbox = {str(inbox).lower()}")
        async with Peer(relay.url) as peer:
            assert (await peer.publish(_message(EVE, BOB)))[0] is inbox
            assert (await peer.publish(_message(EVE, ALICE, 4)))[0] is inbox
            for event in (_message(EVE, EVE), note(EVE, tags=(("p", BOB.pubkey),))):
                assert (await peer.publish(event))[1].startswith("restricted:")
