"""What a running signer can be told, and that it is done."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from bunker_core.errors import BunkerError
from bunker_core.event import verify
from bunker_core.filter import Filter
from bunker_core.nips.bunker_uri import parse_bunker_uri
from bunker_core.pool import RelayPool
from bunker_signer.control.commands import Commands
from bunker_signer.control.protocol import ControlError
from bunker_signer.key.access import KeyState
from bunker_signer.policy import Grant
from bunker_signer.store import clients
from signer.request.support.rig import Owner, Rig, rig
from signer.request.wire._wire import Wire, wire

NOTE = json.dumps({"kind": 1, "content": "hello", "created_at": 1_700_000_000})
REACTION = json.dumps({"kind": 7, "content": "+", "created_at": 1_700_000_000})
ME = 4711


def commands(signer: Rig) -> Commands:
    service = signer.service
    return Commands(service.agent, service.inbox, service.keystore)


async def tell(signer: Rig, command: str, **said: Any) -> Any:
    return await commands(signer).table[command](said, ME, None)


async def locked_out(signer: Rig, client: Wire) -> None:
    """Return when a request waits for the unlock."""
    async with asyncio.timeout(10):
        while not signer.identity.waiting:
            await client.ask("ping", rid="p")


async def test_panic_ends_what_is_under_way(relay_url: str, data: Path) -> None:
    """The keys are locked at once; what waits for a person or for the unlock is refused."""
    owner = Owner()
    async with (
        rig(relay_url, data, approver=owner, keys=("default", "work")) as signer,
        signer.client("sign_event:1") as client,
        wire(relay_url, signer.pubkey) as late,
    ):
        uri = parse_bunker_uri(await tell(signer, "invite", key="default", grants=[]))
        await client.send("sign_event", REACTION, rid="asked")
        await owner.question()
        signer.identity.access.lock("test")
        await client.send("sign_event", NOTE, rid="locked")
        await locked_out(signer, client)
        told = await tell(signer, "panic")
        assert told == {
            "keys": ["default", "work"],
            "sessions": 1,
            "secrets": 1,
            "devices": 0,
            "passkeys": 0,
        }
        for identity in signer.service.identities:
            assert (identity.state, identity.user.locked) == (KeyState.LOCKED, True)
        refused = await client.receive()
        assert (refused.json["id"], refused.error.partition(":")[0]) == ("asked", "denied")
        assert await tell(signer, "requests") == []
        await tell(signer, "unlock")
        refused = await client.receive()
        assert (refused.json["id"], refused.error.partition(":")[0]) == ("locked", "denied")
        assert (await client.ask("ping", rid="p")).error.startswith("denied: not connected")
        assert (await late.ask("connect", "", uri.secret)).error.startswith("denied: ")
        for entry in signer.audit("panic"):
            assert entry.decided_by == f"shell of uid {ME}"
            assert entry.outcome == "1 session and 1 unused URI revoked"


async def test_an_approval_of_an_app_that_is_gone_says_so(relay_url: str, data: Path) -> None:
    """Revoked while the question was open: the owner hears that nothing is signed."""
    async with (
        rig(relay_url, data, approver=Owner()) as signer,
        signer.client() as client,
    ):
        await client.send("sign_event", REACTION, rid="x")
        while not signer.service.inbox.questions():
            await client.ask("ping", rid="p")
        (question,) = signer.service.inbox.questions()
        with signer.database.write() as connection:
            clients.remove(connection, "default", client.key.pubkey)
        with pytest.raises(BunkerError, match="nothing is signed"):
            await tell(signer, "answer", id=question.id, verdict="once")
        assert signer.audit("request") == [] or signer.audit("request")[0].outcome != "allowed"


async def test_an_invitation_carries_its_limits(relay_url: str, data: Path) -> None:
    """What the owner granted with the URI is what the client has, to the last use."""
    async with rig(relay_url, data) as signer, wire(relay_url, signer.pubkey) as client:
        grant = Grant("sign_event", "1", uses_left=1)
        uri = parse_bunker_uri(
            await tell(signer, "invite", key="default", grants=[grant.to_json()])
        )
        await client.ask("connect", "", uri.secret)
        assert not (await client.ask("sign_event", NOTE, rid="1")).error
        assert (await client.ask("sign_event", NOTE, rid="2")).error.startswith("denied: ")


async def test_the_announcement_is_the_remote_signers(relay_url: str, data: Path) -> None:
    """NIP-89: kind 31990 by the remote signer's key, with where it is reached; not the user's."""
    async with rig(relay_url, data) as signer, RelayPool([relay_url]) as pool:
        page = "https://me.example/<nostrconnect>"
        said = {"name": "Mine", "domain": "me.example", "nostrconnect_url": page}
        told = await tell(signer, "announce", key="default", **said)
        assert told["relays"] == {relay_url: "accepted"}
        found = pool.subscribe(Filter(ids=frozenset({told["event"]})))
        event = verify((await anext(aiter(found))).event)
        assert (event.kind, event.pubkey) == (31990, signer.pubkey)
        assert ("k", "24133") in event.tags
        assert ("relay", relay_url) in event.tags
        assert ("nostrconnect_url", page) in event.tags
        assert json.loads(event.content) == {"name": "Mine", "nip05": "_@me.example"}
        assert signer.user not in event.to_json().decode()


async def test_status_counts_what_waits(relay_url: str, data: Path) -> None:
    """A person sees how many requests wait for an answer, and how many for the unlock."""
    owner = Owner()
    async with (
        rig(relay_url, data, approver=owner) as signer,
        signer.client("sign_event:1") as client,
    ):
        for number in range(3):
            await client.send("sign_event", REACTION, rid=f"{number}")
        await owner.question()
        signer.identity.access.lock("test")
        await client.send("sign_event", NOTE, rid="locked")
        await locked_out(signer, client)
        status = await tell(signer, "status")
        assert (status["waiting"], status["keys"][0]["waiting"]) == (3, 1)


async def test_an_approval_of_an_app_that_is_gone(relay_url: str, data: Path) -> None:
    """It says what happened: nothing is signed for an app that was revoked meanwhile."""
    owner = Owner()
    async with (
        rig(relay_url, data, approver=owner) as signer,
        signer.client() as client,
    ):
        await client.send("sign_event", NOTE, rid="1")
        await owner.question()
        (question,) = signer.service.inbox.questions()
        with signer.service.agent.database.write() as connection:
            clients.remove(connection, "default", client.key.pubkey)
        with pytest.raises(ControlError, match="not paired any more"):
            await tell(signer, "answer", id=question.id, verdict="once")
