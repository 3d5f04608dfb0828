"""pairing.py: the nostrconnect:// flow, where the client invites the signer."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bunker.harness import running_relay, running_signer
from bunker_client import Pairing, PairingFailed, RelayUnreachable
from bunker_core.nips.bunker_uri import parse_nostrconnect_uri
from bunker_core.nips.nip46 import ClientMetadata, Permission
from support import commands
from support.scripted import ScriptedSigner, scripted_relay, scripted_signer
from support.strategies import secret_key

LONG = 10.0  # seconds; a step that takes that long has failed
SHORT = 0.3  # seconds in which something must not happen


async def test_our_signer_accepts_the_invitation(tmp_path: Path) -> None:
    """The URI goes to `bunker signer run --connect`, and the client may sign."""
    async with running_relay(tmp_path / "relay") as relay, Pairing([relay.url]) as pairing:
        connect = ["--connect", str(pairing.uri)]
        async with running_signer(
            tmp_path / "signer", [relay.url], allow="sign_event:1", arguments=connect
        ):
            signer = await pairing.wait(LONG)
            assert (await signer.sign_event({"kind": 1})).pubkey == signer.user_pubkey


async def test_the_uri_says_who_asks_and_for_what() -> None:
    """relays, secret, permissions and metadata are in the URI; the secret is in no repr."""
    async with scripted_relay() as relay:
        pairing = Pairing(
            [relay.url],
            client_key=secret_key(3),
            permissions=[Permission("sign_event", "1")],
            metadata=ClientMetadata(name="An app", url="https://example.com"),
        )
        uri = parse_nostrconnect_uri(str(pairing.uri))
        assert uri.client_pubkey == secret_key(3).pubkey
        assert uri.relays == (relay.url,)
        assert uri.permissions == (Permission("sign_event", "1"),)
        assert uri.metadata == ClientMetadata(name="An app", url="https://example.com")
        assert uri.secret is not None
        assert len(uri.secret) >= 32
        assert uri.secret not in repr(pairing.uri)
        assert uri.secret not in repr(pairing)


@asynccontextmanager
async def invited() -> AsyncIterator[tuple[Pairing, ScriptedSigner]]:
    """Have an invitation out and a scripted signer that got it."""
    async with (
        scripted_relay() as relay,
        scripted_signer(relay.url) as signer,
        Pairing([relay.url]) as pairing,
    ):
        yield pairing, signer


@pytest.mark.parametrize(
    ("method", "params", "taken"),
    [
        ("connect", ["{signer}", "{secret}"], True),
        ("connect", ["{signer}", "wrong"], False),
        ("connect", ["{signer}"], False),
        ("ping", ["{signer}", "{secret}"], False),
    ],
)
async def test_a_connect_request_that_bears_the_secret_is_taken(
    method: str, params: list[str], taken: bool
) -> None:
    """rust-nostr up to 0.44 accepts an invitation by a request of its own; others are not taken."""
    async with invited() as (pairing, signer):
        filled = [
            item.format(signer=signer.transport.pubkey, secret=pairing.uri.secret)
            for item in params
        ]
        request = {"id": "1", "method": method, "params": filled}
        await signer.send(pairing.uri.client_pubkey, request)
        if taken:
            assert (await pairing.wait(LONG)).user_pubkey == signer.user.pubkey
        else:
            with pytest.raises(PairingFailed):
                await pairing.wait(SHORT)


async def test_a_bare_secret_is_taken_under_any_id() -> None:
    """The response has no request, so its id means nothing; the secret means all."""
    async with invited() as (pairing, signer):
        await signer.send(pairing.uri.client_pubkey, {"id": "urmom", "result": pairing.uri.secret})
        remote = await pairing.wait(LONG)
        assert remote.user_pubkey == signer.user.pubkey


async def test_a_secret_echoed_in_an_object_is_taken() -> None:
    """Some signers put the secret in an object of their own."""
    async with invited() as (pairing, signer):
        echoed = {"echoed_secret": pairing.uri.secret, "total": 1}
        response = {"id": "1", "result": json.dumps(echoed)}
        await signer.send(pairing.uri.client_pubkey, response)
        assert (await pairing.wait(LONG)).user_pubkey == signer.user.pubkey


@pytest.mark.parametrize(
    "response",
    [
        {"id": "1", "result": "ack"},
        {"id": "1", "result": "wrong"},
        {"id": "1", "result": ""},
        {"id": "1", "result": '{"echoed_secret": 1}'},
        {"id": "1", "result": "{"},
        {"id": "1", "error": "no"},
        "not json",
    ],
)
async def test_who_does_not_know_the_secret_is_not_taken_for_the_signer(response: object) -> None:
    """Anyone who saw the client's pubkey can answer: only the secret counts."""
    async with invited() as (pairing, signer):
        await signer.send(pairing.uri.client_pubkey, response, key=secret_key(66))
        with pytest.raises(PairingFailed, match="no signer answered"):
            await pairing.wait(SHORT)


async def test_an_impostor_first_does_not_keep_the_signer_out() -> None:
    """A wrong answer is passed over, and the right one after it is taken."""
    async with invited() as (pairing, signer):
        client = pairing.uri.client_pubkey
        for number in range(20):  # more strangers than the client keeps conversation keys for
            stranger = secret_key(100 + number)
            await signer.send(client, {"id": "1", "result": "ack"}, key=stranger)
        await signer.send(client, {"id": "1", "result": pairing.uri.secret})
        assert (await pairing.wait(LONG)).user_pubkey == signer.user.pubkey


async def test_a_second_holder_of_the_secret_comes_too_late() -> None:
    """The first that knows the secret is the signer; it stays the only one heard."""
    async with invited() as (pairing, signer):
        client = pairing.uri.client_pubkey
        good = {"id": "1", "result": pairing.uri.secret}
        await signer.send(client, good)
        remote = await pairing.wait(LONG)
        await signer.send(client, good, key=secret_key(66))
        assert await remote.get_public_key() == signer.user.pubkey


async def test_without_a_relay_there_is_no_invitation(dead_url: str) -> None:
    """Entering fails when no relay can be reached: a URI that leads nowhere is never shown."""
    with pytest.raises(RelayUnreachable, match="connection refused"):
        async with Pairing([dead_url], timeout=SHORT):
            pass


async def test_an_invitation_that_failed_leaves_nothing(tmp_path: Path) -> None:
    """`bunker pair --relay` and nobody scans; a bunker:// URI is refused: no file is left."""
    kept = tmp_path / "kept"
    options = ("--sessions", str(kept), "--timeout", "5")

    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        alone = ("--relay", relay.url, "--pairing-timeout", str(SHORT))
        done = await asyncio.to_thread(commands.run, ("pair", *alone, *options))
        assert (done.returncode, done.stdout) == (9, b"")
        assert b"no signer answered the invitation" in done.stderr
        assert not kept.exists()
        signer.answer = lambda asked: [{"id": asked.id, "error": "denied: used"}]
        done = await asyncio.to_thread(commands.run, ("pair", signer.uri, *options))
        assert (done.returncode, done.stdout) == (9, b"")
    left = [path.name for path in kept.rglob("*") if path.is_file()]
    assert left == ["master.key"]  # neither a session nor the key of the URI
    listed = await asyncio.to_thread(commands.run, ("sessions", "--sessions", str(kept)))
    assert b"no sessions" in listed.stderr
