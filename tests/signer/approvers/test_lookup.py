"""What the owner's relays say of a list that was changed elsewhere."""

import asyncio
from pathlib import Path

from bunker.harness import running_relay
from bunker_core.event import Event, EventTemplate, sign_event
from bunker_core.keys import SecretKey
from bunker_core.nips.nip46 import Method
from bunker_core.pool import RelayPool
from bunker_signer.approvers.known import FILE_NAME, KnownOwner
from bunker_signer.approvers.lookup import OwnerRelays
from bunker_signer.policy import Action
from bunker_signer.request.approval import Item, Question
from signer.request.support.rig import database_in

PEOPLE = tuple(("p", f"{number:064x}") for number in range(1, 41))


def question(kind: int, *tags: tuple[str, ...]) -> Question:
    item = Item(Action(Method.SIGN_EVENT, kind=kind), "d", EventTemplate(kind, "", tags, 2000))
    return Question("1", "default", "aa" * 32, "App", (item,), 0, 60)


async def test_a_list_that_was_changed_elsewhere(tmp_path: Path) -> None:
    """The current one counts, however it was signed; one of somebody else does not."""
    owner, stranger = SecretKey.generate(), SecretKey.generate()
    with database_in(tmp_path / "signer.sqlite3") as database:
        known = KnownOwner(tmp_path / FILE_NAME, database)
        async with running_relay(tmp_path / "relay") as relay, RelayPool([relay.url]) as pool:
            await pool.connected(10)
            for key in (owner, stranger):
                signed = sign_event(EventTemplate(3, "", PEOPLE, 1000), key)
                await pool.publish(signed).answered(10)
            told = asyncio.Event()
            away = "ws://127.0.0.1:1"
            lookup = OwnerRelays(
                [relay.url], known, {"default": owner.pubkey}.__getitem__, told.set
            )
            asking = asyncio.create_task(lookup.ask(question(3, *PEOPLE[:2])))
            await asyncio.wait_for(told.wait(), 15)
            described = question(3, *PEOPLE[:2])
            changed = known.of(described).events[3, ""]
            assert len(changed.tags) == 40
            assert isinstance(changed, Event)
            assert changed.pubkey == owner.pubkey
            assert not asking.done()  # relays decide nothing
            asking.cancel()
            told.clear()
            chosen = OwnerRelays([], known, {"default": owner.pubkey}.__getitem__, told.set)
            unasked = asyncio.create_task(chosen.ask(question(3)))
            await asyncio.sleep(0)
            chosen.chosen = (relay.url,)  # in the console, meanwhile: the next question asks it
            later = asyncio.create_task(chosen.ask(question(3)))
            await asyncio.wait_for(told.wait(), 15)
            assert not unasked.done()
            unasked.cancel()
            later.cancel()
            none = OwnerRelays([away], known, lambda _: owner.pubkey, told.set)
            told.clear()
            silent = asyncio.create_task(none.ask(question(1)))  # replaces nothing
            await asyncio.sleep(0)
            silent.cancel()
            assert not told.is_set()
        known.close()
