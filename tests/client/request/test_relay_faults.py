"""The fault matrix, the relay's half: killed, silent, wrong, or half-open.

Whatever breaks, a request ends with what happened, within its deadline. Over real sockets. Each row
names the fault, the outcome and the longest time it may take; the table is printed at the end.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from bunker_client import RemoteSigner
from bunker_core.event import parse_template, sign_event
from client.request._faults import MACHINE, NEVER, NOTE, SLACK, outcome, took, world
from support.scripted import Asked, Message, Peer, ScriptedSigner, scripted_relay, scripted_signer
from support.strategies import secret_key

# --- the relay is killed -------------------------------------------------------------------------


async def test_relay_killed_before_the_request_and_never_back() -> None:
    """The caller learns that no relay is connected after the machine's deadline."""
    async with world() as w:
        await w.relay.kill()
        word = await outcome("relay killed before the request", w.app.sign_event(NOTE))
        assert word == "RelayUnreachable"
        assert took() < MACHINE + SLACK


async def test_relay_killed_before_the_request_and_back() -> None:
    """The request waits for the relay and is signed."""
    async with world(machine=10) as w:
        await w.relay.kill()
        request = asyncio.create_task(
            outcome("relay killed before the request, then back", w.app.sign_event(NOTE))
        )
        await anext(w.app.progress())  # queued
        await w.relay.start()
        assert await request == "signed"


async def test_relay_killed_during_the_request() -> None:
    """The relay dies with the request in its hands, and comes back: signed."""

    async def die(peer: Peer, message: Message) -> bool:
        if message[0] != "EVENT":
            return False
        w.relay.script = None
        restarting.append(asyncio.create_task(w.relay.restart()))
        return True

    restarting: list[asyncio.Task[None]] = []

    async with world(machine=10) as w:
        w.relay.script = die
        word = await outcome("relay killed during the request, then back", w.app.sign_event(NOTE))
        await asyncio.gather(*restarting)
        assert word == "signed"


async def test_relay_killed_after_the_request_was_delivered() -> None:
    """The signer has the request, its answer is lost with the relay: asked again, signed once."""
    cache: dict[str, Any] = {}
    restarted = asyncio.Event()

    async with world(machine=10) as w:

        def remember(asked: Asked) -> Iterable[Any]:
            if asked.id not in cache:
                cache[asked.id] = w.signer.good(asked)
                w.relay.drop()
                restarted.set()
                return []
            return [cache[asked.id]]

        w.signer.answer = remember
        word = await outcome("relay killed after delivery, then back", w.app.sign_event(NOTE))
        assert word == "signed"
        assert restarted.is_set()
        assert len(cache) == 1


async def test_relay_killed_after_delivery_and_never_back() -> None:
    """The caller learns that the relay is gone, not after the time of a person."""
    async with world() as w:

        def die(asked: Asked) -> Iterable[Any]:
            killing.append(asyncio.create_task(w.relay.kill()))
            return []

        killing: list[asyncio.Task[None]] = []
        w.signer.answer = die
        word = await outcome("relay killed after delivery", w.app.sign_event(NOTE))
        assert word == "RelayUnreachable"
        assert took() < MACHINE + SLACK
        await asyncio.gather(*killing)


# --- the relay misbehaves ------------------------------------------------------------------------


def on_event(*replies: Callable[[Message], Any]) -> Callable[[Peer, Message], Awaitable[bool]]:
    """Answer each EVENT with `replies` and pass it to nobody."""

    async def script(peer: Peer, message: Message) -> bool:
        if message[0] != "EVENT":
            return False
        for reply in replies:
            made = reply(message)
            await peer.send(*(made if isinstance(made, list) else [made]))
        return True

    return script


SILENT: dict[str, tuple[Callable[[Message], Any], ...]] = {
    "relay answers nothing": (),
    "relay answers NOTICE only": (lambda _: ["NOTICE", "hello"],),
    "relay answers OK to another event": (lambda _: ["OK", "0" * 64, True, ""],),
    "relay answers garbage": (
        lambda _: "garbage",
        lambda _: "[" * 5000,
        lambda _: ["OK"],
        lambda m: ["OK", m[1]["id"], "yes", 1],
    ),
}


@pytest.mark.parametrize("fault", SILENT)
async def test_relay_that_says_nothing_of_use(fault: str) -> None:
    """No OK in time: RequestTimeout that names the relay which did not acknowledge."""
    async with world() as w:
        w.relay.script = on_event(*SILENT[fault])
        assert await outcome(fault, w.app.sign_event(NOTE)) == "RequestTimeout"
        assert took() < MACHINE + SLACK


async def test_relay_that_answers_nothing_at_all() -> None:
    """A connection on which not even the subscription is answered is no relay."""

    async def nothing(peer: Peer, message: Message) -> bool:
        return True

    async with scripted_relay(nothing) as relay:
        signer = ScriptedSigner([relay.url])

        async def enter() -> None:
            async with RemoteSigner.from_uri(signer.uri, timeout=MACHINE):
                pass

        word = await outcome("relay does not answer the subscription", enter())
        assert word == "RelayUnreachable"
        assert took() < MACHINE + SLACK


@pytest.mark.parametrize(
    ("reason", "limit"),
    [("blocked: not you", MACHINE), ("rate-limited: slow down", MACHINE + SLACK)],
)
async def test_relay_that_refuses(reason: str, limit: float) -> None:
    """OK false: at once when it is policy, after some tries when it may pass."""
    async with world() as w:
        w.relay.script = on_event(lambda m: ["OK", m[1]["id"], False, reason])
        word = await outcome(f"relay answers OK false, {reason}", w.app.sign_event(NOTE))
        assert word == "RelayRefused"
        assert took() < limit


async def test_relay_that_doubles_everything() -> None:
    """Every message twice: signed once."""

    async def twice(peer: Peer, message: Message) -> bool:
        if message[0] == "EVENT":
            await w.relay.handle(peer, message)
        return False

    async with world() as w:
        w.relay.script = twice
        word = await outcome("relay sends everything twice", w.app.sign_event(NOTE))
        assert word == "signed"


async def test_relay_that_sends_garbage_and_forged_events() -> None:
    """Garbage, forged answers and events of others come first: the true answer is taken."""

    async def litter(peer: Peer, message: Message) -> bool:
        if message[0] != "EVENT":
            return False
        event = message[1]
        if event["pubkey"] != w.signer.transport.pubkey:
            return False
        for other in list(w.relay.peers):
            for subscription_id in other.subscriptions:
                await other.send_text("garbage")
                await other.send("EVENT", subscription_id, {**event, "content": "forged"})
                await other.send("EVENT", subscription_id, {**event, "sig": "0" * 128})
                foreign = sign_event(parse_template(event), secret_key(66))
                await other.send("EVENT", subscription_id, foreign.to_dict())
        return False

    async with world() as w:
        w.relay.script = litter
        word = await outcome("relay sends garbage and forged events", w.app.sign_event(NOTE))
        assert word == "signed"


async def test_relay_beside_a_dead_one(dead_url: str) -> None:
    """Two relays, one dead: no slower than one."""
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        signer.relays = [dead_url, relay.url]
        async with RemoteSigner.from_uri(signer.uri, timeout=NEVER / 3) as app:
            assert await outcome("one of two relays dead", app.sign_event(NOTE)) == "signed"
            assert took() < MACHINE + SLACK


async def test_relay_beside_a_silent_one() -> None:
    """Two relays, one that swallows everything: no slower than one."""

    async def nothing(peer: Peer, message: Message) -> bool:
        return True

    async with (
        scripted_relay() as relay,
        scripted_relay(nothing) as silent,
        scripted_signer(relay.url) as signer,
    ):
        signer.relays = [silent.url, relay.url]
        async with RemoteSigner.from_uri(signer.uri, timeout=NEVER / 3) as app:
            assert await outcome("one of two relays silent", app.sign_event(NOTE)) == "signed"
            assert took() < MACHINE + SLACK


# --- half-open TCP -------------------------------------------------------------------------------


class Wire:
    """A TCP proxy that can go deaf: bytes are read from neither side, and nothing is closed."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._hearing = asyncio.Event()
        self._hearing.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "Wire":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def deafen(self) -> None:
        """Leave every present connection half-open; new ones work."""
        self._hearing = asyncio.Event()
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers += [writer, there_writer]
        for source, target in ((reader, there_writer), (there_reader, writer)):
            self._tasks.add(asyncio.create_task(self._pump(source, target)))

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
        target.transport.abort()


async def test_half_open_connection() -> None:
    """The wire goes dead without a word: found out by a ping, renewed, signed."""
    async with (
        scripted_relay() as relay,
        Wire(relay.port) as wire,
        scripted_signer(relay.url) as signer,
    ):
        signer.relays = [wire.url]
        async with RemoteSigner.from_uri(signer.uri, timeout=12) as app:
            wire.deafen()
            word = await outcome("half-open TCP", app.sign_event(NOTE))
            assert word == "signed"
            assert took() < 10


async def test_half_open_connection_and_nothing_else() -> None:
    """The wire goes dead and stays so: the relay did not acknowledge, within the deadline."""
    async with (
        scripted_relay() as relay,
        Wire(relay.port) as wire,
        scripted_signer(relay.url) as signer,
    ):
        signer.relays = [wire.url]
        async with RemoteSigner.from_uri(signer.uri, timeout=MACHINE) as app:
            wire.deafen()
            word = await outcome("half-open TCP, short deadline", app.sign_event(NOTE))
            assert word == "RequestTimeout"
            assert took() < MACHINE + SLACK
