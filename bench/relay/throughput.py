"""Measures 1 to 3: ingest, pairs, fan-out, each as fast as the relay takes it."""

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from typing import Final

from bench.load.traffic import Shot, Traffic, addressed_to, broken, shot
from bench.load.websocket import Socket
from bench.meter import Sample, metered
from bench.relay.crowd import close, connect, subscribed, window
from bench.relay.relays import Target
from bench.stats import percentile
from bunker_core.event import Event
from bunker_core.keys import SecretKey
from bunker_core.kinds import NOSTR_CONNECT

PAIRS: Final = 100
CONNECTIONS: Final = 4
WINDOW: Final = 64
_WARM_UP: Final = 300  # events
_ID: Final = re.compile(rb'"id": ?"([0-9a-f]{64})"')


class Prepared:
    """Everything that is sent, made once for all relays and runs.

    A relay sees an event once: what a measure sends, no other one does.
    """

    def __init__(self, traffic: Traffic, *, events: int, rounds: int) -> None:
        """`events` for ingest; `rounds` requests and responses for each of 100 pairs."""
        self.traffic = traffic
        authors = traffic.keys(16)
        nobody = traffic.keys(1)[0].pubkey

        def requests(count: int) -> list[Event]:
            return [
                traffic.event(authors[index % 16], NOSTR_CONNECT, (("p", nobody),))
                for index in range(count)
            ]

        self.warm_up = [shot(event).frame for event in requests(_WARM_UP)]
        self.ingest = [shot(event).frame for event in requests(events)]
        self.invalid = [broken(event).frame for event in requests(256)] * (events // 256)
        self.duplicates = [shot(event).frame for event in requests(256)] * (events // 256)
        self.notes = [traffic.note(authors[index % 16]).frame for index in range(events // 2)]
        self.pairs = self.make_pairs(PAIRS, rounds)
        self.latency = self.make_pairs(PAIRS, 10)
        self.sequential = self.make_pairs(1, 5_000)[0]
        publisher, reader = traffic.keys(2)
        self.reader = reader.pubkey
        self.publications = {
            readers: [traffic.request(publisher, reader.pubkey).frame for _ in range(3_000)]
            for readers in (200, 1_000)
        }

    def make_pairs(self, count: int, rounds: int) -> "list[Pair]":
        """Return pairs with keys and events of their own."""
        clients, signers = self.traffic.keys(count), self.traffic.keys(count)
        return [
            Pair(self.traffic, client, signer, rounds)
            for client, signer in zip(clients, signers, strict=True)
        ]


class Pair:
    """A client and a remote signer: their keys, and what they say to one another."""

    def __init__(self, traffic: Traffic, client: SecretKey, signer: SecretKey, rounds: int) -> None:
        self.client = client.pubkey
        self.signer = signer.pubkey
        self.requests: Sequence[Shot] = [
            traffic.request(client, signer.pubkey) for _ in range(rounds)
        ]
        self.responses: Sequence[Shot] = [
            traffic.request(signer, client.pubkey) for _ in range(rounds)
        ]


async def ingest(
    target: Target,
    frames: Sequence[bytes],
    seconds: float,
    name: str = "ingest",
    *,
    connections: int = CONNECTIONS,
    unanswered: int = WINDOW,
) -> Sample:
    """Publish over `connections`, so many `unanswered` on each: answers a second."""
    sockets = await connect(target, connections)
    answers = {True: 0, False: 0}
    start = end = 0.0

    def answered(text: bytes) -> None:
        nonlocal end
        if text.startswith(b'["OK"'):
            answers[b"true" in text[70:80]] += 1
            end = time.perf_counter()

    with metered(target) as reading:
        start = time.perf_counter()
        shots = [frames[index::connections] for index in range(connections)]
        window(sockets, shots, unanswered, answered)
        await _until(start + seconds, lambda: sum(answers.values()) >= len(frames))
    close(sockets)
    await asyncio.sleep(0.05)
    total = sum(answers.values())
    sample = reading.sample(name, target, total / (end - start) if total else 0.0, "events/s")
    # To a duplicate some relays say true, some false.
    if not name.endswith("duplicate") and answers[name.endswith("invalid")]:
        raise RuntimeError(f"{target.name}: {name}: accepted {answers[True]}, not {answers[False]}")
    return sample


async def pairs(target: Target, pairs: Sequence[Pair], seconds: float) -> Sample:
    """Let every pair ask and answer, the next request when the response is there."""
    duo = await Duo.open(target, pairs)
    delivered = 0
    end = 0.0
    stop = False

    def wire(client: Socket, signer: Socket, pair: Pair) -> None:
        asked = answered = 0

        def on_request(text: bytes) -> None:
            nonlocal delivered, answered, end
            if text.startswith(b'["EVENT"'):
                delivered += 1
                end = time.perf_counter()
                if answered < len(pair.responses):
                    signer.write(pair.responses[answered].frame)
                    answered += 1

        def on_response(text: bytes) -> None:
            nonlocal delivered, asked, end
            if text.startswith(b'["EVENT"'):
                delivered += 1
                end = time.perf_counter()
                asked += 1
                if asked < len(pair.requests) and not stop:
                    client.write(pair.requests[asked].frame)

        signer.on_text, client.on_text = on_request, on_response

    for client, signer, pair in zip(duo.clients, duo.signers, pairs, strict=True):
        wire(client, signer, pair)
    most = 2 * sum(len(pair.requests) for pair in pairs)
    with metered(target) as reading:
        start = time.perf_counter()
        for client, pair in zip(duo.clients, pairs, strict=True):
            client.write(pair.requests[0].frame)
        await _until(start + seconds, lambda: delivered >= most)
    stop = True
    result = delivered / (end - start) if delivered else 0.0
    await duo.close()
    return reading.sample("pairs", target, result, "deliveries/s")


async def latency(
    target: Target,
    pairs: Sequence[Pair],
    seconds: float,
    *,
    per_second: float = 200,
    name: str = "pairs.latency",
    duo: "Duo | None" = None,
) -> Sample:
    """Send requests at fixed times, whatever comes back: one-way latency in microseconds."""
    shared = duo is not None
    duo = duo or await Duo.open(target, pairs)
    sent: dict[bytes, float] = {}
    taken: list[float] = []

    def received(text: bytes) -> None:
        if text.startswith(b'["EVENT"'):
            at = time.perf_counter()
            found = _ID.search(text)
            begun = sent.pop(found[1], None) if found else None
            if begun is not None:
                taken.append((at - begun) * 1e6)

    for item in duo.signers:
        item.on_text = received
    loop = asyncio.get_running_loop()
    with metered(target) as reading:
        start = loop.time() + 0.01
        count = min(int(seconds * per_second), len(pairs) * len(pairs[0].requests))
        for number in range(count):
            due = start + number / per_second
            if due - loop.time() > 0.0005:
                await asyncio.sleep(due - loop.time())
            index = number % len(pairs)
            one = pairs[index].requests[number // len(pairs)]
            sent[one.event_id.encode()] = time.perf_counter()
            duo.clients[index].write(one.frame)
        await _until(time.perf_counter() + 1.0, lambda: not sent)
    if not shared:
        await duo.close()
    sample = reading.sample(name, target, percentile(taken, 50) if taken else 0.0, "us")
    sample.values = tuple(taken)
    return sample


async def sequential(target: Target, pair: Pair, seconds: float) -> Sample:
    """Send the next request when the last one has arrived: one-way latency in microseconds."""
    duo = await Duo.open(target, [pair])
    taken: list[float] = []
    arrived = asyncio.Event()
    begun = 0.0

    def received(text: bytes) -> None:
        if text.startswith(b'["EVENT"'):
            taken.append((time.perf_counter() - begun) * 1e6)
            arrived.set()

    duo.signers[0].on_text = received
    with metered(target) as reading:
        end = time.perf_counter() + seconds
        for one in pair.requests:
            arrived.clear()
            begun = time.perf_counter()
            if begun > end:
                break
            duo.clients[0].write(one.frame)
            async with asyncio.timeout(10):
                await arrived.wait()
    await duo.close()
    taken = taken[len(taken) // 10 :]  # the first ones warm both ends up
    sample = reading.sample("pairs.sequential", target, percentile(taken, 50), "us")
    sample.values = tuple(taken)
    return sample


async def echo(target: Target, pair: Pair, seconds: float, *, spaced: bool) -> Sample:
    """Send a request to a server that sends it back: latency in microseconds.

    `spaced` waits 5 ms between two, as the other measure at 200 a second does.
    """
    (item,) = await connect(target, 1)
    taken: list[float] = []
    arrived = asyncio.Event()
    begun = 0.0

    def received(_text: bytes) -> None:
        taken.append((time.perf_counter() - begun) * 1e6)
        arrived.set()

    item.on_text = received
    end = time.perf_counter() + seconds
    with metered(target) as reading:
        number = 0
        while time.perf_counter() < end:
            arrived.clear()
            begun = time.perf_counter()
            item.write(pair.requests[number % len(pair.requests)].frame)
            await arrived.wait()
            number += 1
            if spaced:
                await asyncio.sleep(0.005)
    close([item])
    name = "echo.spaced" if spaced else "echo.sequential"
    sample = reading.sample(name, target, percentile(taken, 50), "us")
    sample.values = tuple(taken)
    return sample


async def fan_out(target: Target, prepared: Prepared, readers: int, seconds: float) -> Sample:
    """Publish to many subscribers, 8 unanswered at a time: deliveries a second."""
    sockets = await connect(target, readers)
    (publisher,) = await connect(target, 1)
    await subscribed(sockets, [addressed_to([prepared.reader])] * readers)
    for item in sockets:
        item.on_text = lambda _text: None
    before = sum(item.frames_received for item in sockets)
    with metered(target) as reading:
        start = time.perf_counter()
        window([publisher], [prepared.publications[readers]], 8, lambda _text: None)
        await asyncio.sleep(seconds)
        delivered = sum(item.frames_received for item in sockets) - before
        elapsed = time.perf_counter() - start
    close([*sockets, publisher])
    await asyncio.sleep(0.1)
    return reading.sample(f"fan-out.{readers}", target, delivered / elapsed, "deliveries/s")


async def warm_up(target: Target, prepared: Prepared) -> None:
    """Send what every relay gets before the first clock runs."""
    await ingest(target, prepared.warm_up, 5, "warm-up")


class Duo:
    """Both ends of some pairs, connected and subscribed."""

    def __init__(self, clients: list[Socket], signers: list[Socket]) -> None:
        self.clients = clients
        self.signers = signers

    @classmethod
    async def open(cls, target: Target, pairs: Sequence[Pair]) -> "Duo":
        """Connect both ends of every pair."""
        sockets = await connect(target, 2 * len(pairs))
        clients, signers = sockets[: len(pairs)], sockets[len(pairs) :]
        await subscribed(
            sockets,
            [addressed_to([pair.client]) for pair in pairs]
            + [addressed_to([pair.signer]) for pair in pairs],
        )
        return cls(clients, signers)

    async def close(self) -> None:
        """Drop all connections and let the relay take note."""
        close([*self.clients, *self.signers])
        await asyncio.sleep(0.1)


async def _until(end: float, done: Callable[[], bool]) -> None:
    """Wait until `end` (time.perf_counter()), or until `done`."""
    while time.perf_counter() < end and not done():  # noqa: ASYNC110 -- costs the load generator least
        await asyncio.sleep(0.005)
