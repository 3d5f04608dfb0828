"""A relay with `signers`: who may send signing requests, and who may see them."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from bunker_core.keys import SecretKey
from bunker_core.nips.nip19 import encode_npub
from support.wire import PATIENCE, Peer, Refused, RelayProcess, Start, note, request, running_relay

SIGNER, SECOND, CLIENT, STRANGER = (SecretKey.generate() for _ in range(4))


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    """An open relay with the gate on for two signers."""
    data = tmp_path_factory.mktemp("gate") / "data"
    flags = ("--signer", encode_npub(SIGNER.pubkey), "--signer", SECOND.pubkey)
    with running_relay(data, *flags) as relay:
        yield relay


@pytest.fixture
async def peers(relay: RelayProcess) -> AsyncIterator[list[Peer]]:
    """Three clients."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Peer(relay.url)) for _ in range(3)]


async def test_only_traffic_of_the_signers_is_carried(peers: list[Peer]) -> None:
    """To or from a signer, by whatever throw-away key; anything else of the kind is refused."""
    signer, app, _ = peers
    for key in (SIGNER, SECOND):
        assert (await signer.authenticate(key))[0]
    await signer.subscribe("s", {"#p": [SIGNER.pubkey, SECOND.pubkey]})
    await app.subscribe("s", {"#p": [CLIENT.pubkey]})
    for accepted in (
        request(CLIENT, SIGNER.pubkey),
        request(CLIENT, SECOND.pubkey),
        request(SIGNER, CLIENT.pubkey),
    ):
        assert await app.publish(accepted) == (True, "")
    for refused in (request(CLIENT, STRANGER.pubkey), request(STRANGER, CLIENT.pubkey)):
        ok, reason = await app.publish(refused)
        assert not ok
        assert reason.startswith("restricted:")
    assert len(await signer.unread()) == 2
    assert len(await app.unread()) == 1


@pytest.mark.parametrize(
    "wanted",
    [{"kinds": [24133]}, {"kinds": [24133], "limit": 0}, {"kinds": [24133], "since": 0},
     {"kinds": [24133], "#t": ["x"]}, {"kinds": [24133], "authors": [SIGNER.pubkey]},
     {"kinds": [24133], "#p": [SIGNER.pubkey]},
     {"kinds": [24133], "#p": [SIGNER.pubkey, SECOND.pubkey]}],
)  # fmt: skip
async def test_a_spy_is_told_to_authenticate(peers: list[Peer], wanted: Any) -> None:
    """A filter for the traffic of others is CLOSED with `auth-required:`, with limit 0 too."""
    with pytest.raises(Refused, match=r"^CLOSED auth-required:"):
        await peers[0].subscribe("s", wanted)
    await peers[0].send("COUNT", "c", wanted)
    assert (await peers[0].next())[2].startswith("auth-required:")


@pytest.mark.parametrize(
    "wanted",
    [{}, {"limit": 0}, {"kinds": [1, 24133]}, {"since": 0}, {"#t": ["x"]},
     {"authors": [STRANGER.pubkey]}, {"#p": [STRANGER.pubkey]}, {"#p": [SIGNER.pubkey]},
     {"authors": [CLIENT.pubkey]}, {"kinds": [24133], "#p": [SIGNER.pubkey, STRANGER.pubkey]}],
)  # fmt: skip
async def test_signing_traffic_hides_from_wider_filters(peers: list[Peer], wanted: Any) -> None:
    """Whatever else a filter asks for, requests between others are not in it."""
    spy, signer, app = peers
    assert (await signer.authenticate(SIGNER))[0]
    await signer.subscribe("s", {"#p": [SIGNER.pubkey]})
    assert await spy.subscribe("s", wanted) == []
    event = note(CLIENT, kind=24133, tags=(("p", SIGNER.pubkey), ("t", "x")))
    assert await app.publish(event) == (True, "")
    assert len(await signer.unread()) == 1
    assert await spy.unread() == []


async def test_an_answer_goes_to_whoever_names_its_recipient(peers: list[Peer]) -> None:
    """An app's key is known to it and its signer; who names the signer alone learns nothing."""
    spy, app, signer = peers
    await app.subscribe("s", {"kinds": [24133], "authors": [SIGNER.pubkey], "#p": [CLIENT.pubkey]})
    await spy.subscribe("s", {"authors": [SIGNER.pubkey]})
    await spy.subscribe("t", {"kinds": [24133, 1], "authors": [SIGNER.pubkey]})
    assert await signer.publish(request(SIGNER, CLIENT.pubkey)) == (True, "")
    assert len(await app.unread()) == 1
    assert await spy.unread() == []
    assert (await spy.authenticate(STRANGER))[0]
    with pytest.raises(Refused, match=r"^CLOSED restricted:"):
        await spy.subscribe("u", {"kinds": [24133], "#p": [SIGNER.pubkey]})


async def test_one_connection_serves_every_signer(tmp_path: Path) -> None:
    """However many keys one bunker has; other keys have a bound."""
    signers = [SecretKey.generate() for _ in range(5)]
    config = f"signers = {json.dumps([key.pubkey for key in signers])}\n"
    config += "limits.max_auth_pubkeys = 2\n"
    with running_relay(tmp_path / "data", config=config) as relay:
        async with Peer(relay.url) as peer:
            for key in signers:
                assert (await peer.authenticate(key))[0]
            assert not (await peer.authenticate(STRANGER))[0]


async def test_who_listened_before_it_was_named_comes_back(start: Start) -> None:
    """A signer that is named while it listens would hear nothing; nobody else is hung up on."""
    relay = start(config='name = "before"')
    mine = {"kinds": [24133], "#p": [SIGNER.pubkey]}
    async with Peer(relay.url) as early, Peer(relay.url) as known, Peer(relay.url) as app:
        await known.authenticate(SIGNER)
        await early.subscribe("s", mine)
        await known.subscribe("s", mine)
        await app.subscribe("s", {"kinds": [24133], "#p": [CLIENT.pubkey]})
        relay.data.with_suffix(".toml").write_text(f'signers = ["{SIGNER.pubkey}"]')
        relay.process.send_signal(signal.SIGHUP)
        assert await early.close_code() == 1006
        async with Peer(relay.url) as again:
            with pytest.raises(Refused, match=r"^CLOSED auth-required:"):
                await again.subscribe("s", mine)
            assert (await again.authenticate(SIGNER))[0]
            await again.subscribe("s", mine)
            assert await app.publish(request(CLIENT, SIGNER.pubkey)) == (True, "")
            assert len(await again.unread()) == 1
        assert len(await known.unread()) == 1
        assert await known.publish(request(SIGNER, CLIENT.pubkey)) == (True, "")
        assert len(await app.unread()) == 1


async def test_strangers_have_a_share_of_their_own(start: Start) -> None:
    """Junk from one address leaves what apps that the signer has answered send from there."""
    config = "[rates]\nstrangers_per_ip = {per_second = 0.001, burst = 5}"
    relay = start("--signer", SIGNER.pubkey, config=config)
    async with Peer(relay.url) as signer, Peer(relay.url) as app:
        assert (await app.publish(request(CLIENT, SIGNER.pubkey)))[0]
        assert (await signer.publish(request(SIGNER, CLIENT.pubkey)))[0]
        said = [await app.publish(request(STRANGER, SIGNER.pubkey)) for _ in range(5)]
        assert [accepted for accepted, _ in said] == [True] * 4 + [False]
        assert said[-1][1].startswith("rate-limited:")
        for _ in range(20):
            assert (await app.publish(request(CLIENT, SIGNER.pubkey)))[0]


async def test_an_id_does_not_open_it(peers: list[Peer]) -> None:
    """To know an event's id is not to be a party."""
    spy, signer, app = peers
    event = request(CLIENT, SIGNER.pubkey)
    await spy.subscribe("s", {"ids": [event.id]})
    assert (await signer.authenticate(SIGNER))[0]
    await signer.subscribe("s", {"authors": [CLIENT.pubkey]})
    assert await app.publish(event) == (True, "")
    assert await spy.unread() == []


async def test_nobody_listening_is_told_as_without_a_gate(peers: list[Peer]) -> None:
    """Subscribers who may not see an event do not count as listeners."""
    spy, _, app = peers
    await spy.subscribe("s", {})
    ok, reason = await app.publish(request(CLIENT, SIGNER.pubkey))
    assert ok
    assert reason.startswith("mute:")


async def test_a_party_that_authenticates_sees_its_own(peers: list[Peer]) -> None:
    """After AUTH a wide filter gets what the key is a party of, and nothing else; at once."""
    party, other, app = peers
    await party.subscribe("s", {"kinds": [24133, 1], "limit": 0})
    assert (await other.authenticate(SECOND))[0]
    await other.subscribe("s", {"#p": [SIGNER.pubkey, SECOND.pubkey]})
    assert (await party.authenticate(SIGNER))[0]
    own, foreign = request(CLIENT, SIGNER.pubkey), request(CLIENT, SECOND.pubkey)
    assert (await app.publish(foreign))[0]
    assert (await app.publish(own))[0]
    assert [m[2]["id"] for m in await party.unread() if m[0] == "EVENT"] == [own.id]
    assert await party.subscribe("all", {"kinds": [24133]}) == []  # CLOSED no more


async def test_other_kinds_are_open_to_all(peers: list[Peer]) -> None:
    """With the profile `open` the gate is for signing traffic alone."""
    event = note(STRANGER)
    assert (await peers[0].publish(event))[0]
    assert await peers[1].ids({"authors": [STRANGER.pubkey]}) == [event.id]


def test_the_document_says_that_writes_are_restricted(relay: RelayProcess) -> None:
    """NIP-11 `restricted_writes` is true with the gate on."""
    reply = httpx.get(relay.http_url, headers={"Accept": "application/nostr+json"}).json()
    assert reply["limitation"]["restricted_writes"] is True
    assert "its own signers" in httpx.get(relay.http_url).text


def test_readiness_passes_the_gate(relay: RelayProcess) -> None:
    """The probe's throw-away keys are let through, for the probe alone."""
    reply = httpx.get(relay.http_url + "/readyz")
    assert reply.status_code == 200
    assert reply.json()["ready"] is True
    assert 0 < reply.json()["round_trip_ms"] < 3_000


async def test_the_private_profile(tmp_path: Path) -> None:
    """Other kinds are taken from signers, owner and allowed pubkeys, and read by all."""
    owner, allowed = SecretKey.generate(), SecretKey.generate()
    config = f'signers = ["{SIGNER.pubkey}"]\nallow = ["{allowed.pubkey}"]\n'
    flags = ("--profile", "private", "--owner", owner.pubkey)
    with running_relay(tmp_path / "data", *flags, config=config) as relay:
        async with Peer(relay.url) as peer:
            for key in (SIGNER, owner, allowed):
                assert (await peer.publish(note(key)))[0]
            for kind in (1, 20001):
                ok, reason = await peer.publish(note(STRANGER, kind=kind))
                assert not ok
                assert reason.startswith("restricted:")
            assert (await peer.publish(request(STRANGER, SIGNER.pubkey)))[1].startswith("mute:")
            assert len(await peer.ids({})) == 3


async def test_the_bunker_profile_has_no_database(tmp_path: Path) -> None:
    """Kind 24133 is carried, everything else is refused, and nothing is on disk."""
    with running_relay(tmp_path / "data", "--profile", "bunker") as relay:
        async with Peer(relay.url) as peer:
            await peer.subscribe("s", {"#p": [SIGNER.pubkey]})
            assert await peer.publish(request(CLIENT, SIGNER.pubkey)) == (True, "")
            for kind in (1, 0, 30000, 20001):
                ok, reason = await peer.publish(note(CLIENT, kind=kind))
                assert not ok
                assert reason.startswith("blocked:")
            assert await peer.ids({}) == []
            await peer.send("COUNT", "c", {})
            assert (await peer.until(lambda m: m[0] == "CLOSED"))[2].startswith("unsupported:")
        ready = await asyncio.to_thread(httpx.get, relay.http_url + "/readyz")
        assert ready.status_code == 200
        assert [path.name for path in relay.data.iterdir()] == ["lock"]


async def test_the_owners_signers_are_not_slowed_down(start: Start) -> None:
    """A signer answers for many apps at once; apps, and whoever claims to be it, have limits."""
    relay = start(
        "--signer",
        SIGNER.pubkey,
        config="""
        [rates]
        signing_per_ip = {per_second = 0.001, burst = 6}
        signing_per_pubkey = {per_second = 0.001, burst = 3}
        """,
    )
    async with Peer(relay.url) as signer, Peer(relay.url) as app:
        for _ in range(20):
            assert (await signer.publish(request(SIGNER, CLIENT.pubkey)))[0]
        said = [await app.publish(request(CLIENT, SIGNER.pubkey)) for _ in range(4)]
        assert [accepted for accepted, _ in said] == [True] * 3 + [False]
        assert said[-1][1].startswith("rate-limited:")
        forged = request(SIGNER, CLIENT.pubkey).to_dict() | {"sig": "0" * 128}
        for reason in ("invalid", "invalid", "rate-limited"):
            await app.send("EVENT", forged)
            assert (await app.ok(forged["id"]))[1].startswith(reason)


@pytest.mark.parametrize(
    ("profile", "gated"),
    [("open", False), ("open", True), ("private", True), ("bunker", False), ("bunker", True)],
)
async def test_who_gives_up_on_a_challenge_can_log_in(
    start: Start, profile: str, gated: bool
) -> None:
    """Snort closes what it has subscribed to on sight of AUTH: none comes, in neither flow."""
    relay = start("--profile", profile, *(["--signer", SIGNER.pubkey] if gated else []))
    app_key = SecretKey.generate()
    async with Peer(relay.url) as signer, connect(relay.url, proxy=None) as app:

        async def said(word: str) -> None:
            message = json.loads(await app.recv())
            if message[0] == "AUTH":
                await app.send(json.dumps(["CLOSE", "s"]))
            assert message[0] == word, message

        async with asyncio.timeout(PATIENCE):
            if gated:
                assert (await signer.authenticate(SIGNER))[0]
            await signer.subscribe("s", {"kinds": [24133], "#p": [SIGNER.pubkey]})
            wanted = {"kinds": [24133], "#p": [app_key.pubkey], "limit": 0}
            await app.send(json.dumps(["REQ", "s", wanted]))
            await said("EOSE")
            # nostrconnect: the signer speaks first
            assert await signer.publish(request(SIGNER, app_key.pubkey)) == (True, "")
            await said("EVENT")
            # bunker: the app does
            await app.send(b'["EVENT",%b]' % request(app_key, SIGNER.pubkey).to_json(), text=True)
            await said("OK")
            await signer.delivered("s")
            assert await signer.publish(request(SIGNER, app_key.pubkey, "pong")) == (True, "")
            await said("EVENT")
