"""Several hosts as one relay, over a real NATS server that may be hostile, or gone."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import httpx
import nats
import pytest

from bunker_core.keys import SecretKey
from relay.nodes._nats import NatsServer, nats_server
from support.wire import PATIENCE, Peer, RelayProcess, Start, note, request, running_relay

SIGNER, APP = SecretKey.generate(), SecretKey.generate()
ORIGIN = b"\0" * 16  # of nobody's relay


def _config(server: NatsServer, more: str = "") -> str:
    return f'{more}\nmetrics.port = 0\nlog.format = "json"\nnats.servers = ["{server.url}"]\n'


def figure(relay: RelayProcess, name: str) -> float:
    """Return one of the relay's figures, of all its workers together."""
    port = next(json.loads(line)["port"] for line in relay.log().splitlines() if '"port"' in line)
    lines = httpx.get(f"http://127.0.0.1:{port}/metrics").text.splitlines()
    found = [line for line in lines if line.partition("{")[0].partition(" ")[0] == name]
    return sum(float(line.rpartition(" ")[2]) for line in found)


async def until(relay: RelayProcess, name: str, wanted: Callable[[float], bool]) -> None:
    """Wait until a figure is as it should be."""
    async with asyncio.timeout(PATIENCE):
        while not wanted(await asyncio.to_thread(figure, relay, name)):
            pass


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with nats_server(tmp_path_factory.mktemp("nats")) as running:
        yield running


@pytest.fixture(scope="module", params=["", "workers = 2"])
def hosts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, server: NatsServer
) -> Iterator[list[RelayProcess]]:
    """Two relays on one server, of one process each or of two workers."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                running_relay(
                    tmp_path_factory.mktemp("host") / "data", config=_config(server, request.param)
                )
            )
            for _ in range(2)
        ]


@pytest.fixture
async def peers(hosts: list[RelayProcess]) -> AsyncIterator[list[Peer]]:
    """A client of each host, the signer's and the app's."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Peer(relay.url)) for relay in hosts]


def _to(key: SecretKey) -> dict[str, Any]:
    return {"kinds": [24133], "#p": [key.pubkey], "limit": 0}


async def test_a_request_crosses_to_the_signers_host_and_back(peers: list[Peer]) -> None:
    """The OK tells the truth across hosts: heard, had before, or nobody there."""
    signer, app = peers
    asked = request(APP, SIGNER.pubkey)
    assert await app.publish(asked) == (True, "mute: no one is listening")
    await signer.subscribe("s", _to(SIGNER))
    await app.subscribe("s", _to(APP))
    assert await app.publish(asked) == (True, "")
    assert (await signer.delivered("s"))["id"] == asked.id
    assert (await app.publish(asked))[1].startswith("duplicate:")
    answer = request(SIGNER, APP.pubkey)
    assert await signer.publish(answer) == (True, "")
    assert (await app.delivered("s"))["id"] == answer.id
    assert await signer.unread() == await app.unread() == []


async def test_stored_events_go_to_other_hosts_live(peers: list[Peer]) -> None:
    """Each host has its own database unless they share one; what is new goes to all."""
    one, two = peers
    key = SecretKey.generate()
    await one.subscribe("s", {"authors": [key.pubkey]})
    event = note(key)
    await two.publish(event)
    assert (await one.delivered("s"))["id"] == event.id


async def test_what_a_stranger_puts_on_the_bus(
    hosts: list[RelayProcess], peers: list[Peer], server: NatsServer
) -> None:
    """Forged, malformed and oversize is dropped and counted; what holds is delivered once."""
    signer, _ = peers
    await signer.subscribe("s", _to(SIGNER))
    good = request(APP, SIGNER.pubkey)
    subject = f"bunker-relay.event.24133.{SIGNER.pubkey}.{good.id}"
    plain = good.to_dict()
    auth = note(APP, kind=22242, tags=(("p", SIGNER.pubkey),)).to_json()
    bad = [
        json.dumps(plain | {"sig": "0" * 128}).encode(),
        json.dumps(plain | {"content": "forged"}).encode(),
        json.dumps({"id": good.id}).encode(),
        b"",
        b"\xff\x00",
        b"[" * 50_000,
        json.dumps(plain | {"content": "x" * 300_000}).encode(),
        auth,  # NIP-42: never broadcast
    ]
    before = figure(hosts[0], "bunker_relay_bus_malformed_total")
    nc = await nats.connect(server.url)
    for body in bad:
        await nc.publish(subject, ORIGIN + body)
    await nc.publish(subject, b"short")
    await nc.publish("bunker-relay.tell", ORIGIN + b'{"probe": "' + b"a" * 64 + b'", "on": true}')
    for _ in range(3):
        await nc.publish(subject, ORIGIN + good.to_json())
    await nc.flush()
    assert (await signer.delivered("s"))["id"] == good.id
    await nc.close()
    assert await signer.unread() == []
    told = 2 if figure(hosts[0], "bunker_relay_workers_linked") else 1  # each worker, of the probe
    await until(
        hosts[0],
        "bunker_relay_bus_malformed_total",
        lambda found: found >= before + len(bad) + 1 + told,
    )


async def test_its_own_echo_is_dropped(peers: list[Peer], server: NatsServer) -> None:
    """What comes back with the relay's own mark was delivered before it went out."""
    signer, app = peers
    await signer.subscribe("s", _to(SIGNER))
    await app.subscribe("s", _to(SIGNER))
    nc = await nats.connect(server.url)
    seen = await nc.subscribe("bunker-relay.event.>")
    await nc.flush()
    first, second = request(APP, SIGNER.pubkey), request(APP, SIGNER.pubkey)
    assert await app.publish(first) == (True, "")
    message = await seen.next_msg(timeout=PATIENCE)
    assert (await signer.delivered("s"))["id"] == first.id
    assert (await app.delivered("s"))["id"] == first.id
    await nc.publish(message.subject, message.data[:16] + second.to_json())  # as if from app's host
    await nc.flush()
    await nc.close()
    assert (await signer.delivered("s"))["id"] == second.id
    assert await app.unread() == []


async def test_a_bus_with_a_password_is_believed(start: Start, tmp_path: Path) -> None:
    """Whoever may write to it is one of us: no signature is checked twice."""
    (tmp_path / "password").write_text("secret of the bus\n")
    with nats_server(tmp_path, user="relay", password="secret of the bus") as server:
        more = f'nats.user = "relay"\nnats.password_file = "{tmp_path / "password"}"'
        relay = start(config=_config(server, more))
        assert figure(relay, "bunker_relay_bus_connected") == 1
        async with Peer(relay.url) as signer:
            await signer.subscribe("s", _to(SIGNER))
            event = request(APP, SIGNER.pubkey).to_dict() | {"sig": "0" * 128}
            nc = await nats.connect(server.url, user="relay", password="secret of the bus")
            subject = f"bunker-relay.event.24133.{SIGNER.pubkey}.{event['id']}"
            await nc.publish(subject, ORIGIN + json.dumps(event).encode())
            await nc.close()
            assert (await signer.delivered("s"))["id"] == event["id"]
        assert "secret of the bus" not in relay.log()


async def test_the_bus_is_lost_and_found(start: Start, tmp_path: Path) -> None:
    """Local delivery goes on, metrics and /readyz tell, and it comes back by itself."""
    with nats_server(tmp_path) as server:
        relays = [start(config=_config(server)) for _ in range(2)]
        async with AsyncExitStack() as stack:
            signer, app = [await stack.enter_async_context(Peer(r.url)) for r in relays]
            await signer.subscribe("s", _to(SIGNER))
            assert await app.publish(request(APP, SIGNER.pubkey)) == (True, "")
            server.stop()
            for relay in relays:
                await until(relay, "bunker_relay_bus_connected", lambda found: found == 0)
                assert figure(relay, "bunker_relay_bus_lost_total") >= 1
            ready = await asyncio.to_thread(httpx.get, relays[0].http_url + "/readyz")
            assert (ready.status_code, ready.json()["bus"]) == (200, "lost")
            assert await app.publish(request(APP, SIGNER.pubkey)) == (
                True,
                "mute: no one is listening",
            )
            await signer.subscribe("new", _to(APP))  # while it is lost
            local = request(APP, SIGNER.pubkey)
            assert await signer.publish(local) == (True, "")
            server.start()
            for relay in relays:
                await until(relay, "bunker_relay_bus_connected", lambda found: found == 1)
            for key in (SIGNER, APP):  # what was subscribed to before, and meanwhile
                assert await app.publish(request(APP, key.pubkey)) == (True, "")
        for relay in relays:
            assert relay.log().count("NATS is lost") == 1
            assert relay.log().count("NATS is back") == 1


async def test_a_relay_starts_without_its_bus(start: Start, tmp_path: Path) -> None:
    """NATS may come later: the relay serves its own clients from the start."""
    with nats_server(tmp_path) as server:
        server.stop()
        relay = start(config=_config(server))
        async with Peer(relay.url) as peer:
            await peer.subscribe("s", _to(SIGNER))
            assert await peer.publish(request(APP, SIGNER.pubkey)) == (True, "")
            server.start()
            await until(relay, "bunker_relay_bus_connected", lambda found: found == 1)


async def test_what_waits_for_a_signer_is_handed_to_another_host(
    start: Start, server: NatsServer
) -> None:
    """A signer that wakes up at one host gets what another one holds for it."""
    more = 'grace.seconds = 60\nnats.prefix = "grace"'
    one, two = (start(config=_config(server, more)) for _ in range(2))
    for relay in (one, two):
        await until(relay, "bunker_relay_bus_connected", lambda found: found == 1)
    key = SecretKey.generate()
    async with Peer(one.url) as app, Peer(two.url) as signer:
        event = request(APP, key.pubkey)
        assert "held" in (await app.publish(event))[1]
        await signer.send("REQ", "s", _to(key))
        assert (await signer.delivered("s"))["id"] == event.id  # before EOSE or after it
        assert await app.subscribe("s", _to(key)) == []
        assert await app.unread() == []
