"""Connect, invitations, secrets and logout, as seven client libraries do them (R1, R12, R13)."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from bunker_core.keys import SecretKey
from bunker_core.nips.bunker_uri import NostrConnectURI
from bunker_core.nips.nip46 import ClientMetadata
from bunker_signer.policy import Grant
from bunker_signer.store import StoreError, audit_log, clients
from signer.request.support.rig import rig
from signer.request.wire._wire import EVERYTHING, NOTE, wire


@pytest.mark.parametrize(
    ("first", "rest"),
    [
        ("signer", []),
        ("signer", ["", '{"name":"nostr-tools"}']),
        ("signer", ["sign_event:1,nip44_encrypt"]),
        ("signer", ["", "", "and", "more"]),
        ("nothing", []),  # NDK
        ("stranger", []),  # NDK puts the user's key there
    ],
    ids=["plain", "metadata", "permissions", "six", "empty", "other key"],
)
async def test_connect_shapes(relay_url: str, data: Path, first: str, rest: list[str]) -> None:
    """R1: connect is answered with "ack", whatever library's shape its parameters have."""
    async with rig(relay_url, data) as signer, wire(relay_url, signer.pubkey) as client:
        secret = signer.invite("a-secret-of-mine")
        named = {"signer": signer.pubkey, "nothing": "", "stranger": "ab" * 32}[first]
        answer = await client.ask("connect", named, secret, *rest)
    assert answer.json == {"id": "1", "result": "ack"}


async def test_connect_by_invitation_gets_the_secret(relay_url: str, data: Path) -> None:
    """R1: a nostrconnect:// client gets its secret, which keeps impostors out, and never "ack"."""
    async with rig(relay_url, data) as signer, wire(relay_url, signer.pubkey) as client:
        metadata = ClientMetadata("App", "https://app.example")
        uri = NostrConnectURI(client.key.pubkey, (relay_url,), "0s8j2djs", (), metadata)
        await signer.agent.accept(signer.identity, uri, ())
        answer = await client.receive()
        assert answer.json["result"] == "0s8j2djs"
        assert "error" not in answer.json
        assert (await client.ask("ping")).json["result"] == "pong"


async def test_connect_again_is_admitted_by_key(relay_url: str, data: Path) -> None:
    """A client that is known is admitted by its key afterwards, no matter the secret it repeats."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        for secret in ("", "used up", "another"):
            answer = await client.ask("connect", signer.pubkey, secret, rid=secret)
            assert answer.json["result"] == "ack"


async def test_a_secret_is_good_once(relay_url: str, data: Path) -> None:
    """A second client with the same secret is denied, and so is a wrong secret and none at all."""
    async with (
        rig(relay_url, data) as signer,
        signer.client() as first,
        wire(relay_url, signer.pubkey) as second,
    ):
        used = f"secret-default-{first.key.pubkey[:8]}"
        for number, secret in enumerate((used, "wrong", "")):
            answer = await second.ask("connect", signer.pubkey, secret, rid=str(number))
            assert answer.error.startswith("denied: ")
        assert (await second.ask("get_public_key")).error.startswith("denied: ")


# --- logout --------------------------------------------------------------------------------------


async def test_logout_is_acknowledged_and_then_done(relay_url: str, data: Path) -> None:
    """R12: the client gets its "ack", and is a stranger afterwards."""
    async with rig(relay_url, data) as signer, signer.client(EVERYTHING) as client:
        assert (await client.ask("logout", rid="bye")).json == {"id": "bye", "result": "ack"}
        answer = await client.ask("sign_event", NOTE, rid="after")
        assert answer.error.startswith("denied: not connected")


async def test_a_logout_that_was_acknowledged_is_done(relay_url: str, data: Path) -> None:
    """The "ack" leaves when nothing is left to do: a kill in between costs the app its grants."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        known: list[int] = []
        publish = signer.agent.pool.publish

        def watched(*args: Any) -> Any:
            known.append(len(signer.clients()))
            return publish(*args)

        signer.agent.pool.publish = watched  # type: ignore[method-assign, assignment]
        await client.ask("logout")
        assert known == [0]


async def test_a_logout_that_can_t_be_written_is_not_acknowledged(
    relay_url: str, data: Path
) -> None:
    """A database that fails between the two: the app is not told, and is a client still."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        append, failing = audit_log.append, [True]

        def full(*args: Any, **facts: Any) -> Any:
            if args[2] == "logout" and failing[0]:
                raise StoreError("the disk is full")
            return append(*args, **facts)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(audit_log, "append", full)
            await client.send("logout", rid="bye")
            await client.silence()
        assert len(signer.clients()) == 1


async def test_a_logout_from_before_the_pairing_is_ignored(relay_url: str, data: Path) -> None:
    """R12: a replayed logout of an earlier session does not end this one."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        await client.send("logout", created_at=int(time.time()) - 50)
        await client.silence()


async def test_metadata_is_a_hint_of_limited_size(relay_url: str, data: Path) -> None:
    """R13: only texts are kept of what a client says of itself, cut, and nothing is fetched."""
    async with rig(relay_url, data) as signer, wire(relay_url, signer.pubkey) as client:
        signer.invite("s3cret")
        said = json.dumps({"name": "N" * 5000, "url": 7, "image": "https://x\u202e", "more": []})
        await client.ask("connect", "", "s3cret", "", said)
        (stored,) = signer.clients()
        assert stored.metadata == ClientMetadata("N" * 256, "", "https://x")


async def test_a_rename_survives_pairing_again(relay_url: str, data: Path) -> None:
    """R13: what the owner calls a client is not overwritten by what it calls itself later."""
    async with rig(relay_url, data) as signer, signer.client() as client:

        async def pair_as(name: str) -> str:
            metadata = ClientMetadata(name)
            uri = NostrConnectURI(client.key.pubkey, (relay_url,), "0s8j2djs", (), metadata)
            await signer.agent.accept(signer.identity, uri, ())
            await client.receive()
            (stored,) = signer.clients()
            return stored.metadata.name

        assert await pair_as("First") == "First"
        with signer.database.write() as connection:
            assert clients.rename(connection, "default", client.key.pubkey, "Mine")
        assert await pair_as("Second") == "Mine"


async def test_an_unused_secret_adds_its_grants(relay_url: str, data: Path) -> None:
    """A known client connects with a new URI: it has what that grants, and nobody else gets it."""
    async with (
        rig(relay_url, data) as signer,
        signer.client("sign_event:7") as client,
        wire(relay_url, signer.pubkey) as other,
    ):
        secret = signer.invite("another-secret", [Grant("sign_event", "1")])
        note = NOTE
        assert (await client.ask("sign_event", note, rid="a")).error.startswith("denied: ")
        assert (await client.ask("connect", "", secret, rid="b")).json["result"] == "ack"
        assert not (await client.ask("sign_event", note, rid="c")).error
        assert {grant.param for grant in signer.grants(client.key.pubkey)} == {"1", "7"}
        assert len(signer.audit("pair")) == 2
        assert (await other.ask("connect", "", secret)).error.startswith("denied: ")
        for wrong in (secret, "wrong", ""):  # used or wrong: a known client is admitted by its key
            assert (await client.ask("connect", "", wrong, rid="d" + wrong)).json["result"] == "ack"
        assert len(signer.audit("pair")) == 2


async def test_an_invitation_that_nobody_took_is_taken_back(relay_url: str, data: Path) -> None:
    """The app that was not there has no grants, and who was a client before has what it had."""
    async with rig(relay_url, data) as signer, signer.client("sign_event:7") as client:
        signer.agent._courier._sleep = lambda _: asyncio.sleep(0)
        stranger, known = SecretKey.generate().pubkey, client.key.pubkey
        for subscription in list(client.pool._subscriptions.values()):
            subscription.close()
        for pubkey in (stranger, known):
            uri = NostrConnectURI(pubkey, (relay_url,), "0s8j2djs", ())
            granted = [Grant("sign_event", "1")]
            assert not await signer.agent.accept(signer.identity, uri, granted)
        assert {item.pubkey for item in signer.clients()} == {known}
        assert signer.grants(stranger) == ()
        assert [grant.param for grant in signer.grants(known)] == ["7"]
        assert [item.decided_by for item in signer.audit("unpair")] == ["nobody was listening"] * 2


async def test_disconnect_is_a_logout(relay_url: str, data: Path) -> None:
    """Snort says goodbye in its own word."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        assert (await client.ask("disconnect", rid="bye")).json["result"] == "ack"
        assert signer.clients() == ()
