"""Soak: signing traffic through a relay for minutes, while some clients do not read.

    python -m bench.relay.soak --seconds 600

Measures what this machine's relay and generator reach together, then runs at half of it. Each pair
of clients is an app and a signer: requests one way, answers the other. One client in a hundred
subscribes to everything and never reads; closed for it, it comes back. Prints the events sent,
acknowledged, delivered and lost, and the relay's memory over time. Exits 1 when anything was lost
or the memory grew.

With `--hostile` the relay has its ordinary limits and every client an address of its own. It runs
for a tenth of the time without, then for all of it beside the clients of `hostile.py`, and reports
on each. The memory may rise to the relay's bounds there, by less than 192 MiB, and has to stay
there: in the last quarter it may be a twentieth more than before.
"""

import argparse
import asyncio
import contextlib
import itertools
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson
import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from bench.relay.process import Relay, relay
from bunker_core.event import EventTemplate, sign_event
from bunker_core.keys import SecretKey

_CONTENT = "A" * 300
_SAMPLE_SECONDS = 10.0
_HOSTILE_MIB = 192  # what the hostile clients may make of the memory, in all
_BURST = 50  # events between two looks at what has arrived


@dataclass(slots=True)
class Tally:
    """What happened so far."""

    sent: int = 0
    acknowledged: int = 0
    delivered: int = 0
    refused: int = 0
    doubles: int = 0
    deaf_closed: int = 0
    latencies: list[float] = field(default_factory=list)


class Client:
    """One end of a pair: publishes to the other, counts what arrives."""

    def __init__(self, socket: ClientConnection, key: SecretKey, tally: Tally) -> None:
        self.key = key
        self._socket = socket
        self._tally = tally
        self._numbers = itertools.count()
        self._expected = 0
        self.in_flight: dict[str, float] = {}
        self.room = asyncio.Event()

    async def subscribe(self) -> None:
        """Ask for what is addressed to this client."""
        wanted = {"kinds": [24133], "#p": [self.key.pubkey], "limit": 0}
        await self._socket.send(orjson.dumps(["REQ", "s", wanted]).decode())
        while orjson.loads(await self._socket.recv())[0] != "EOSE":
            pass

    async def publish(self, recipient: str) -> None:
        """Send the next event to `recipient`."""
        template = EventTemplate(
            kind=24133,
            content=f"{next(self._numbers):012}{_CONTENT}",
            tags=(("p", recipient),),
            created_at=int(time.time()),
        )
        event = sign_event(template, self.key)
        self.in_flight[event.id] = time.perf_counter()
        self._tally.sent += 1
        await self._socket.send(b'["EVENT",%b]' % event.to_json(), text=True)

    async def listen(self) -> None:
        """Count until the connection closes."""
        tally = self._tally
        with contextlib.suppress(ConnectionClosed):
            async for data in self._socket:
                message = orjson.loads(data)
                if message[0] == "EVENT":
                    number = int(message[2]["content"][:12])
                    tally.delivered += 1
                    if number < self._expected:
                        tally.doubles += 1
                    self._expected = number + 1
                elif message[0] == "OK":
                    tally.acknowledged += 1
                    tally.refused += not message[2] or message[3] != ""
                    tally.latencies.append(time.perf_counter() - self.in_flight.pop(message[1]))
                    self.room.set()


async def soak(options: argparse.Namespace, subject: Relay) -> bool:
    """Measure the capacity, run at half of it; return whether all is well."""
    tally = Tally()
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for number in range(options.pairs * 2):
            host = (
                f"127.0.{1 + number // 250}.{1 + number % 250}" if options.hostile else "127.0.0.1"
            )
            socket = connect(
                subject.url, compression=None, proxy=None, max_queue=None, local_addr=(host, 0)
            )
            client = Client(await stack.enter_async_context(socket), SecretKey.generate(), tally)
            await client.subscribe()
            clients.append(client)
        listening = [asyncio.create_task(client.listen()) for client in clients]
        pairs = list(zip(clients[::2], clients[1::2], strict=True))
        capacity = await _capacity(pairs, tally, options.calibrate)
        rate = options.rate or capacity / 2
        print(f"capacity {capacity:.0f} events/s; running {options.seconds:.0f} s at {rate:.0f}")
        deaf = max(1, options.pairs * 2 // 100)
        silent = [asyncio.create_task(_deaf(subject.url, tally)) for _ in range(deaf)]
        if options.hostile:
            print("without hostile clients:")
        first = options.seconds / 10 if options.hostile else options.seconds
        well = await _measure(pairs, rate, first, subject, tally)
        if options.hostile:
            print("beside hostile clients:")
            command = [str(Path(__file__).with_name("hostile.py")), "--url", subject.url]
            command += ["--seconds", str(options.seconds)]
            attacker = await asyncio.create_subprocess_exec(sys.executable, *command)
            beside = await _measure(pairs, rate, options.seconds, subject, tally, grows=True)
            await attacker.wait()
            well = well and beside and attacker.returncode == 0
        for task in (*silent, *listening):
            task.cancel()
    print(f"deaf clients {deaf}, closed {tally.deaf_closed} times")
    return well and tally.deaf_closed > 0


async def _measure(
    pairs: list[tuple[Client, Client]],
    rate: float,
    seconds: float,
    subject: Relay,
    tally: Tally,
    *,
    grows: bool = False,
) -> bool:
    """Run for `seconds` and report; return whether nothing was lost and the memory is flat."""
    samples = asyncio.create_task(_sample(subject, tally))
    start, before, cpu = time.perf_counter(), replace(tally), subject.cpu()
    tally.latencies.clear()
    await _run(pairs, rate, seconds)
    elapsed, cpu = time.perf_counter() - start, subject.cpu() - cpu
    await _settle(tally)
    samples.cancel()
    memory = await samples
    sent, refused = tally.sent - before.sent, tally.refused - before.refused
    doubles = tally.doubles - before.doubles
    lost = 2 * sent - (tally.acknowledged - before.acknowledged)
    lost -= tally.delivered - before.delivered
    early, late = memory[len(memory) // 4], memory[-1]
    latencies = sorted(tally.latencies)
    print(f"sent {sent} in {elapsed:.0f} s ({sent / elapsed:.0f}/s)")
    print(f"lost {lost}, refused {refused}, doubled {doubles}")
    if latencies:
        middle, worst = latencies[len(latencies) // 2], latencies[len(latencies) * 99 // 100]
        print(f"publish to OK: median {middle * 1e3:.2f} ms, 99th {worst * 1e3:.2f} ms")
    print(f"relay: {cpu / elapsed:.0%} of a core, {cpu / sent * 1e6:.0f} us an event")
    mib = [round(value / 2**20, 1) for value in memory]
    step = round(60 / _SAMPLE_SECONDS) if len(mib) > 12 else 1
    every = step * _SAMPLE_SECONDS
    print(
        f"resident memory MiB, every {every:.0f} s: {mib[::step]}, most {max(mib)}, last {mib[-1]}"
    )
    flat = late <= early * 1.05 + 2 * 2**20
    if grows:
        most = max(memory)
        earlier = memory[: len(memory) * 3 // 4 + 1]
        flat = most - memory[0] < _HOSTILE_MIB * 2**20 and most <= 1.05 * max(earlier)
    print("memory is flat" if flat else "MEMORY GROWS")
    return flat and lost == refused == doubles == 0


async def _capacity(pairs: list[tuple[Client, Client]], tally: Tally, seconds: float) -> float:
    """Return the events a second that go through with a few in flight on every connection."""
    end = time.perf_counter() + seconds

    async def hurry(client: Client, other: Client) -> None:
        while time.perf_counter() < end:
            while len(client.in_flight) >= 4:
                client.room.clear()
                await client.room.wait()
            await client.publish(other.key.pubkey)

    before, start = tally.acknowledged, time.perf_counter()
    await asyncio.gather(*(hurry(*pair) for pair in pairs), *(hurry(b, a) for a, b in pairs))
    elapsed = time.perf_counter() - start
    done = tally.acknowledged - before
    await _settle(tally)
    return done / elapsed


async def _run(pairs: list[tuple[Client, Client]], rate: float, seconds: float) -> None:
    """Publish at `rate` events a second, an open loop: late ones are made up for."""
    ends = itertools.cycle([end for a, b in pairs for end in ((a, b), (b, a))])
    start = time.perf_counter()
    done = 0
    while (now := time.perf_counter() - start) < seconds:
        # A generator that falls behind goes on reading: it is not to be the deaf client.
        due = min(int(now * rate) - done, _BURST)
        for _ in range(due):
            client, other = next(ends)
            await client.publish(other.key.pubkey)
        done += due
        await asyncio.sleep(0.002)


async def _settle(tally: Tally) -> None:
    """Wait until everything has arrived, or nothing more does."""
    quiet = 0
    while tally.acknowledged + tally.delivered < 2 * tally.sent and quiet < 50:
        before = tally.acknowledged + tally.delivered
        await asyncio.sleep(0.1)
        quiet = 0 if tally.acknowledged + tally.delivered > before else quiet + 1


async def _deaf(url: str, tally: Tally) -> None:
    """Subscribe to everything and never read; when the relay closes, come back."""
    while True:
        reader, writer = await asyncio.open_connection(*url.removeprefix("ws://").split(":"))
        writer.write(
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        text = b'["REQ","all",{"limit":0}]'
        writer.write(b"\x81" + bytes([0x80 | len(text)]) + bytes(4) + text)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        while not writer.transport.is_closing():
            await asyncio.sleep(1)
            with contextlib.suppress(ConnectionError, OSError):
                writer.write(b"\x8a\x80" + bytes(4))  # a pong: not reading is not being dead
        tally.deaf_closed += 1


async def _sample(subject: Relay, tally: Tally) -> list[int]:
    memory = []
    try:
        while True:
            memory.append(subject.rss())
            tally.latencies = tally.latencies[-500_000:]
            await asyncio.sleep(_SAMPLE_SECONDS)
    except asyncio.CancelledError:
        return [*memory, subject.rss()]


def main() -> None:
    """Run the soak."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--rate", type=float, default=0, help="events/s; 0: half of the capacity")
    parser.add_argument("--calibrate", type=float, default=10, help="seconds for the capacity")
    parser.add_argument("--hostile", action="store_true", help="beside hostile clients, too")
    options = parser.parse_args()
    with relay(limited=options.hostile) as subject:
        sys.exit(0 if uvloop.run(soak(options, subject)) else 1)


if __name__ == "__main__":
    main()
