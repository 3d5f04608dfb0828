"""The fault matrix: whatever breaks, a request ends with what happened, within its deadline.

Over real sockets. Each row names the fault, the outcome and the longest time it may take; the
table is printed at the end of the run.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from _scripted import (
    Asked,
    Message,
    Peer,
    ScriptedRelay,
    ScriptedSigner,
    scripted_relay,
    scripted_signer,
)
from _strategies import secret_key
from bunker.harness import running_relay, running_signer
from bunker_client import RemoteSigner
from bunker_client.errors import ClientError
from bunker_core.event import parse_template, sign_event

NOTE = {"kind": 1, "content": "hello", "created_at": 1_700_000_000}
MACHINE = 1.0  # seconds for a round trip in these tests
HUMAN = 2.0  # seconds for an approval
SLACK = 2.0  # seconds that a busy machine may be late
NEVER = 30.0  # seconds; whatever takes that long hangs

ROWS: list[tuple[str, str, float]] = []


@pytest.fixture(scope="module", autouse=True)
def table(request: pytest.FixtureRequest) -> Iterator[None]:
    """Print the matrix when its last row is done."""
    yield
    lines = [f"{'fault':<58} {'outcome':<20} {'time':>7}"]
    lines += [f"{fault:<58} {outcome:<20} {seconds:5.2f} s" for fault, outcome, seconds in ROWS]
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n" + "\n".join(lines))


@dataclass
class World:
    """A relay, a signer on it and an app that is connected to both."""

    relay: ScriptedRelay
    signer: ScriptedSigner
    app: RemoteSigner


@asynccontextmanager
async def world(offline: float | None = None, machine: float = MACHINE) -> AsyncIterator[World]:
    async with scripted_relay() as relay, scripted_signer(relay.url) as signer:
        app = RemoteSigner.from_uri(
            signer.uri, timeout=NEVER, approval_timeout=HUMAN, offline_timeout=offline
        )
        async with app:  # a busy machine may pair slowly; the deadline is the request's
            await app.relays_checked(NEVER)
            app._link.patience = replace(app._link.patience, machine=machine)
            yield World(relay, signer, app)


async def outcome(fault: str, request: Awaitable[Any]) -> str:
    """Return how a request ended, in one word, and note it in the table."""
    start = time.monotonic()
    try:
        async with asyncio.timeout(NEVER):
            await request
    except ClientError as error:
        word = type(error).__name__
    else:
        word = "signed"
    ROWS.append((fault, word, time.monotonic() - start))
    return word


def took() -> float:
    return ROWS[-1][2]


# --- the relay is killed -----------------------------------------------------------------------


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


# --- the relay misbehaves ----------------------------------------------------------------------


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


# --- half-open TCP -----------------------------------------------------------------------------


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


# --- the signer --------------------------------------------------------------------------------


async def test_signer_offline_at_once() -> None:
    """The relay says `mute:` and the caller does not want to wait."""
    async with scripted_relay() as relay:
        async with scripted_signer(relay.url) as signer:
            app = RemoteSigner.from_uri(signer.uri, timeout=NEVER / 3, offline_timeout=0)
            await app.__aenter__()
        try:
            word = await outcome("signer offline, raised at once", app.sign_event(NOTE))
        finally:
            await app.__aexit__(None, None, None)
        assert word == "SignerOffline"
        assert took() < MACHINE + SLACK


async def test_signer_killed_and_restarted() -> None:
    """The signer is away for a moment: the request is waited for and signed."""
    async with scripted_relay() as relay:
        async with scripted_signer(relay.url) as signer:
            app = RemoteSigner.from_uri(signer.uri, timeout=10)
            await app.__aenter__()
        try:
            before = len(relay.of_type("EVENT"))
            request = asyncio.create_task(
                outcome("signer killed before the request, then back", app.sign_event(NOTE))
            )
            await relay.wait_for("EVENT", before + 1)
            async with scripted_signer(signer=signer):
                assert await request == "signed"
        finally:
            await app.__aexit__(None, None, None)


async def test_signer_killed_with_the_request() -> None:
    """The signer takes the request and dies: a ping finds out, and it is reported offline."""
    async with scripted_relay() as relay:
        got = asyncio.Event()

        def swallow(asked: Asked) -> Iterable[Any]:
            if asked.method == "sign_event":
                got.set()
                return []
            return [signer.good(asked)]

        async with scripted_signer(relay.url, answer=swallow) as signer:
            app = RemoteSigner.from_uri(signer.uri, timeout=MACHINE, approval_timeout=60)
            await app.__aenter__()
            request = asyncio.create_task(
                outcome("signer killed with the request", app.sign_event(NOTE))
            )
            await got.wait()
        try:
            assert await request == "SignerOffline"
            assert took() < 10
        finally:
            await app.__aexit__(None, None, None)


async def test_signer_restarted_with_the_request() -> None:
    """The signer forgets the request in a restart that no relay tells of: asked again, signed."""
    async with world() as w:
        w.app._link.patience = replace(w.app._link.patience, approval=60)

        def forget_first(asked: Asked) -> Iterable[Any]:
            lost = asked.method == "sign_event" and w.signer.methods().count("sign_event") == 1
            return [] if lost else [w.signer.good(asked)]

        w.signer.answer = forget_first
        word = await outcome("signer restarted with the request", w.app.sign_event(NOTE))
        assert word == "signed"
        assert took() < 10


async def test_signer_that_waits_for_its_owner() -> None:
    """auth_url, and nobody agrees: WaitingForApproval after the time of a person."""
    async with world() as w:
        w.signer.answer = lambda asked: [
            {"id": asked.id, "result": "auth_url", "error": "https://example.com/yes"}
        ]
        word = await outcome("owner never agrees at the auth_url", w.app.sign_event(NOTE))
        assert word == "WaitingForApproval"
        assert HUMAN - 0.5 < took() < HUMAN + SLACK


async def test_signer_that_says_nothing() -> None:
    """Delivered and never answered: RequestTimeout that says so, after the time of a person."""
    async with world() as w:
        w.signer.answer = lambda asked: []
        word = await outcome("signer never answers", w.app.sign_event(NOTE))
        assert word == "RequestTimeout"
        assert took() < HUMAN + SLACK


async def test_signer_that_is_locked() -> None:
    """A locked key is an error of its own."""
    async with world() as w:
        w.signer.answer = lambda asked: [
            {"id": asked.id, "result": "error", "error": "locked: unlock the signer first"}
        ]
        word = await outcome("signer locked", w.app.sign_event(NOTE))
        assert word == "SignerLocked"


ERRORS: dict[str, dict[str, Any]] = {
    'error "denied", result ""': {"result": "", "error": "denied"},
    'error "denied", no result': {"error": "denied"},
    'error "denied", result null': {"result": None, "error": "denied"},
    'error "denied", result "error"': {"result": "error", "error": "denied"},
    "error an object": {"error": {"code": 1, "message": "denied"}},
}


@pytest.mark.parametrize("fault", ERRORS)
async def test_error_shapes(fault: str) -> None:
    """Each of the five shapes of an error is a denial, at once."""
    async with world() as w:
        w.signer.answer = lambda asked: [{"id": asked.id, **ERRORS[fault]}]
        assert await outcome(fault, w.app.sign_event(NOTE)) == "RequestDenied"
        assert took() < MACHINE + SLACK


async def test_responses_out_of_order_and_twice() -> None:
    """Ten requests answered in reverse, each answer twice: every caller gets its own."""
    held: list[Any] = []

    async with world() as w:

        def hold(asked: Asked) -> Iterable[Any]:
            held.append(w.signer.good(asked))
            return [item for item in reversed(held) for _ in range(2)] if len(held) == 10 else []

        w.signer.answer = hold

        async def ask_all() -> None:
            events = await asyncio.gather(
                *(w.app.sign_event({**NOTE, "content": str(number)}) for number in range(10))
            )
            assert [event.content for event in events] == [str(number) for number in range(10)]

        assert await outcome("10 responses in reverse order, twice each", ask_all()) == "signed"


async def test_response_from_a_stranger() -> None:
    """A stranger answers first, with the right id: it is not heard."""
    async with world() as w:

        def leak(asked: Asked) -> Iterable[Any]:
            forged = {"id": asked.id, "result": "error", "error": "forged"}
            sending.append(
                asyncio.create_task(w.signer.send(asked.client, forged, key=secret_key(66)))
            )
            return [w.signer.good(asked)]

        sending: list[asyncio.Task[Any]] = []
        w.signer.answer = leak
        assert await outcome("response from a stranger first", w.app.sign_event(NOTE)) == "signed"
        await asyncio.gather(*sending)


# --- against our own relay and signer ----------------------------------------------------------


@pytest.mark.parametrize("minutes", [10, -10])
async def test_clock_off(tmp_path: Path, minutes: int) -> None:
    """Our clock is ten minutes off: requests go by the relay's, and are signed."""
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url], allow="sign_event:1") as signer,
    ):
        app = RemoteSigner.from_uri(signer.uri, timeout=5, clock=lambda: time.time() + 60 * minutes)

        async def sign() -> None:
            async with app:
                await app.sign_event(NOTE)

        assert await outcome(f"client's clock off by {minutes} minutes", sign()) == "signed"


async def test_large_payload(tmp_path: Path) -> None:
    """100 KB of content and 100 KB to encrypt and to decrypt."""
    grants = "sign_event:1,nip44_encrypt,nip44_decrypt"
    async with (
        running_relay(tmp_path / "relay") as relay,
        running_signer(tmp_path / "signer", [relay.url], allow=grants) as signer,
        RemoteSigner.from_uri(signer.uri, timeout=10) as app,
    ):
        text = "x" * 100_000

        async def use() -> None:
            assert (await app.sign_event({**NOTE, "content": text})).content == text
            peer = secret_key(9).pubkey
            payload = await app.nip44_encrypt(peer, text)
            assert await app.nip44_decrypt(peer, payload) == text

        assert await outcome("100 KB to sign, encrypt and decrypt", use()) == "signed"
