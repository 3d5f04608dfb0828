"""What the signer does for an owner who is not there, and what they can do from afar."""

import asyncio
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bunker_core.errors import InvalidEvent
from bunker_core.event import EventTemplate, VerifiedEvent, event_id, sign_event
from bunker_core.keys import SecretKey
from bunker_core.nips import nip44
from bunker_core.nips.nip59 import Rumor, unwrap
from bunker_core.pool import Incoming
from bunker_signer.control.commands import Commands
from bunker_signer.key.access import KeyState, Panicked
from bunker_signer.service.kill_switch import FRESH, KillSwitch
from bunker_signer.service.watch import DAY, Watch
from bunker_signer.store import audit_log
from signer.request.support.rig import Rig, rig

NOW = 1_800_000_000.0


def watch(signer: Rig, clock: Callable[[], float], silence: float | None = None) -> Any:
    """Return a watch of a signer, and what it tells."""
    told: list[Any] = []
    made = Watch(signer.service.identities, signer.database, told.append, silence, clock)
    return made, told


async def test_the_end_of_the_audit_log_is_told_once_a_day(
    relay_url: str, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The hash that is told is what `audit verify --expect` finds, a year of entries later."""
    now = NOW
    async with rig(relay_url, data) as signer:
        made, told = watch(signer, lambda: now)
        made.look()
        assert told == []  # nothing happened yet
        signer.identity.access.lock("test")
        made.look()
        made.look()
        assert len(told) == 1
        with signer.database.read() as connection:
            entries, last = audit_log.head(connection)
        assert f"{entries} entries, last hash {last}" in told[0].text
        assert caplog.messages.count("audit log") == 1
        again, told_again = watch(signer, lambda: now)  # a restart on the same day
        again.look()
        assert told_again == []
        signer.identity.access.lock("test")
        now += DAY
        made.look()
        assert len(told) == 2
        with signer.database.read() as connection:
            audit_log.check(connection, last)


async def test_keys_are_locked_when_nothing_is_heard_of_the_owner(
    relay_url: str, data: Path
) -> None:
    """Not a second before the chosen time; a command, an unlock or an answer starts it anew."""
    now, month = NOW, 30.0 * DAY
    async with rig(relay_url, data, keys=("default", "work")) as signer:
        made, told = watch(signer, lambda: now, month)
        made.look()  # set just now
        now += month - 1
        made.look()
        assert signer.identity.state is KeyState.UNLOCKED
        commands = Commands(
            signer.agent, signer.service.inbox, signer.service.keystore, owner_seen=made.owner_seen
        )
        await commands.table["status"]({}, 0, None)  # who looks may be a script
        now += 1
        made.look()
        states = {item.state for item in signer.service.identities}
        assert states == {KeyState.LOCKED}
        assert any("30 days" in notice.text for notice in told)
        assert {item.decided_by for item in signer.audit("lock")} == {"no sign of the owner"}
        for identity in signer.service.identities:
            identity.access.on_owner = made.owner_seen
        await commands.table["unlock"]({}, 0, None)
        now += month - 1
        made.look()
        assert signer.identity.state is KeyState.UNLOCKED


async def test_silence_locks_nothing_unless_it_is_chosen(relay_url: str, data: Path) -> None:
    """By default an owner may be away for years."""
    now = NOW
    async with rig(relay_url, data) as signer:
        made, _ = watch(signer, lambda: now)
        made.look()
        now += 3650 * DAY
        made.look()
        assert signer.identity.state is KeyState.UNLOCKED


# --- the kill switch ------------------------------------------------------------------------------


def message(
    sender: SecretKey,
    to: str,
    content: str = "panic",
    at: float | None = None,
    *,
    kind: int = 14,
    claims: str = "",
) -> VerifiedEvent:
    """Return a private message as clients of NIP-17 send it."""

    def sealed(key: SecretKey, text: str) -> str:
        return nip44.encrypt(text, nip44.conversation_key(key.shared_x(to)))

    created_at = int(time.time() if at is None else at)
    author = claims or sender.pubkey
    template = EventTemplate(kind, content, (("p", to),), created_at)
    rumor = {**template.to_dict(), "pubkey": author, "id": event_id(template, author)}
    seal = EventTemplate(13, sealed(sender, json.dumps(rumor)), (), max(0, created_at - 90_000))
    once = SecretKey.generate()
    text = sign_event(seal, sender).to_json().decode()
    wrap = EventTemplate(1059, sealed(once, text), (("p", to),), max(0, created_at - 120_000))
    return sign_event(wrap, once)


def switch(signer: Rig, trusted: SecretKey, clock: Callable[[], float] = time.time) -> Any:
    """Return a kill switch and what it was told to do."""
    heard: list[str] = []
    named = frozenset({trusted.pubkey})
    made = KillSwitch(signer.agent.identities, signer.database, named, heard.append, clock)
    return made, heard


async def test_a_message_counts_once_and_in_its_time(relay_url: str, data: Path) -> None:
    """The word of a trusted pubkey; the same, an older or an old one again does nothing."""
    now, owner = time.time(), SecretKey.generate()
    async with rig(relay_url, data) as signer:
        made, heard = switch(signer, owner, lambda: now)
        first = message(owner, signer.pubkey, " Panic\n", now)
        for event in (first, first, message(owner, signer.pubkey, at=now - 1)):
            made.take(Incoming(event, relay_url))
        assert heard == [f"message of {owner.pubkey}"]
        again, heard = switch(signer, owner, lambda: now)  # a restart
        again.take(Incoming(first, relay_url))
        for off in (-FRESH - 1, FRESH + 1):
            again.take(Incoming(message(owner, signer.pubkey, at=now + off), relay_url))
        assert heard == []
        again.take(Incoming(message(owner, signer.pubkey, at=now + 1), relay_url))
        assert len(heard) == 1


async def test_nobody_else_is_heard(relay_url: str, data: Path) -> None:
    """Not a stranger, not in the owner's name, not another word or kind, not a wrap of nothing."""
    owner, other = SecretKey.generate(), SecretKey.generate()
    async with rig(relay_url, data) as signer:
        made, heard = switch(signer, owner)
        to = signer.pubkey
        bare = sign_event(EventTemplate(1059, "panic", (("p", to),), int(time.time())), owner)
        for event in (
            message(other, to),
            message(other, to, claims=owner.pubkey),
            message(owner, to, "panic!"),
            message(owner, to, kind=1),
            message(owner, signer.user),
            bare,
        ):
            made.take(Incoming(event, relay_url))
        assert heard == []


async def test_a_flood_of_wraps_is_rationed(relay_url: str, data: Path) -> None:
    """Each costs two key agreements: twenty at once, then one a second."""
    now, owner = time.time(), SecretKey.generate()
    async with rig(relay_url, data) as signer:
        made, heard = switch(signer, owner, lambda: now)
        for _ in range(20):
            made.take(Incoming(message(SecretKey.generate(), signer.pubkey), relay_url))
        made.take(Incoming(message(owner, signer.pubkey, at=now), relay_url))
        assert heard == []
        now += 1
        made.take(Incoming(message(owner, signer.pubkey, at=now), relay_url))
        assert len(heard) == 1


def test_a_rumor_is_of_who_signed_its_seal() -> None:
    """NIP-17: or anybody could speak in another's name."""
    sender, receiver = SecretKey.generate(), SecretKey.generate()

    def opened(peer: str, payload: str) -> str:
        return nip44.decrypt(payload, nip44.conversation_key(receiver.shared_x(peer)))

    found = unwrap(message(sender, receiver.pubkey, "hi", 5.0), opened)
    assert found == Rumor(sender.pubkey, found.id, 14, "hi", 5)
    with pytest.raises(InvalidEvent, match="another author"):
        unwrap(message(sender, receiver.pubkey, claims=receiver.pubkey), opened)
    with pytest.raises(InvalidEvent, match="not a gift wrap"):
        unwrap(sign_event(EventTemplate(1), sender), opened)


async def test_panic_from_afar(relay_url: str, data: Path) -> None:
    """Through a real relay: keys locked, app revoked, and the audit log says by whose word."""
    owner = SecretKey.generate()
    async with (
        rig(relay_url, data, panic_by=(owner.pubkey,)) as signer,
        signer.client("sign_event") as client,
    ):
        await client.publish(message(owner, signer.pubkey))
        async with asyncio.timeout(10):
            await signer.identity.access.wait_while(KeyState.UNLOCKED)
        assert signer.identity.user.locked
        assert signer.clients() == ()
        assert {item.decided_by for item in signer.audit("panic")} == {f"message of {owner.pubkey}"}
        opening = partial(signer.service.keystore.unlock, signer.identity.user, None)
        with pytest.raises(Panicked):
            await signer.identity.access.unlock(opening, "console: x", on_machine=False)
