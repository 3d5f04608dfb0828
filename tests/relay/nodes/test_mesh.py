"""The mesh alone: the workers of one machine, by Unix sockets."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bunker_core.filter import Filter
from bunker_core.keys import SecretKey
from bunker_relay.nodes.bus import UNKNOWN
from bunker_relay.nodes.mesh import Mesh
from relay.nodes._node import Nodes, found_each_other, mesh_of, to_key
from support.wire import PATIENCE, note, request


@pytest.fixture
async def mesh(tmp_path: Path) -> AsyncIterator[Nodes]:
    async with found_each_other(tmp_path, mesh_of) as make:
        yield make


async def test_settle_comes_after_what_others_have_stored(mesh: Nodes) -> None:
    """What was committed elsewhere before is heard before `settle` returns."""
    one, two = await mesh(2)
    key = SecretKey.generate()
    two.bus.listen((Filter(),))
    await two.bus.settle()
    event = note(key)
    one.on_announced = lambda: one.bus.publish(event, None)
    await two.bus.settle()
    assert two.events.get_nowait() == event


async def test_every_worker_answers_a_question(mesh: Nodes) -> None:
    """Figures, lists and authorizations are asked of all."""
    one, two, three = await mesh(3)
    assert isinstance(one.bus, Mesh)
    answers = await one.bus.ask({"figures": True})
    assert {answer["from"] for answer in answers} == {id(two), id(three)}


async def test_a_worker_that_ends_answers_for_nobody(mesh: Nodes) -> None:
    """Whoever waits for it learns that at once, and its subscriptions are gone."""
    one, two = await mesh(2)
    key = SecretKey.generate()
    two.bus.listen(to_key(key))
    await two.bus.settle()
    answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    assert one.bus.publish(request(key, key.pubkey), answer.set_result)
    await two.bus.close()
    async with asyncio.timeout(PATIENCE):
        assert await answer in (UNKNOWN, 1)
    assert await one.ask(request(key, key.pubkey)) in (None, UNKNOWN)
    assert one.bus.gauges == {"workers_linked": 0}


@pytest.mark.parametrize(
    "junk",
    [
        b"\xff" * 64,  # a length beyond all bounds
        bytes((0, 0, 0, 2, 1, 0, 0, 0, 0)) + b"{}",  # an event that is none
        bytes((0, 0, 0, 2, 99, 0, 0, 0, 0)) + b"{}",  # a frame that nobody knows
    ],
)
async def test_junk_from_a_worker_is_counted_and_the_link_ended(
    mesh: Nodes, tmp_path: Path, junk: bytes
) -> None:
    """A frame that can't be read ends that link alone."""
    one, _ = await mesh(2)
    reader, writer = await asyncio.open_unix_connection(tmp_path / "0")
    writer.write(junk)
    async with asyncio.timeout(PATIENCE):
        await reader.read()
    writer.close()
    assert one.counters.bus_malformed == 1
    assert one.bus.gauges == {"workers_linked": 1}


async def test_a_process_of_another_user_is_not_a_worker(
    mesh: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel says who is at the other end."""
    one, _ = await mesh(2)
    monkeypatch.setattr("bunker_relay.nodes.mesh.peer_uid", lambda _: os.geteuid() + 1)
    reader, writer = await asyncio.open_unix_connection(tmp_path / "0")
    async with asyncio.timeout(PATIENCE):
        assert await reader.read() == b""
    writer.close()
    assert one.bus.gauges == {"workers_linked": 1}
