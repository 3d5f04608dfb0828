"""Hostile clients in turn, from an address of their own, until the time is over.

    python -m bench.relay.hostile --url ws://127.0.0.1:7777 --seconds 60

Each attack is bounded in number and to a few seconds. Prints one line for each: how often it ran,
what it sent, and how often the relay ended it. `soak.py --hostile` runs this too.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import orjson
import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from bunker_core.event import EventTemplate, sign_event
from bunker_core.keys import SecretKey

_ADDRESS = "127.0.0.2"
_TURN = 8.0  # seconds that one attack may take

Attack = Callable[[str, Counter[str]], Awaitable[None]]


@contextlib.asynccontextmanager
async def _sockets(url: str, count: int) -> AsyncIterator[list[ClientConnection]]:
    """Open connections that are cut off in the end, not closed with a handshake."""
    opened: list[ClientConnection] = []
    try:
        for _ in range(count):
            options = {"compression": None, "proxy": None, "local_addr": (_ADDRESS, 0)}
            opened.append(await connect(url, **options))  # type: ignore[arg-type]
        yield opened
    finally:
        for socket in opened:
            socket.transport.abort()


async def _send(socket: ClientConnection, message: list[object], seen: Counter[str]) -> None:
    await socket.send(orjson.dumps(message).decode())
    seen["messages"] += 1


async def _event(socket: ClientConnection, template: EventTemplate, seen: Counter[str]) -> None:
    event = sign_event(template, SecretKey.generate())
    await socket.send(b'["EVENT",%b]' % event.to_json(), text=True)
    seen["messages"] += 1


def _random_values(count: int) -> list[str]:
    return [os.urandom(32).hex() for _ in range(count)]


async def filters(url: str, seen: Counter[str]) -> None:
    """Four connections, each 200 subscriptions of two filters with 1,900 random pubkeys."""
    async with _sockets(url, 4) as sockets:
        for number in range(200):
            two = [{"kinds": [24133], "#p": _random_values(1_900), "limit": 0} for _ in range(2)]
            for socket in sockets:
                await _send(socket, ["REQ", f"s{number}", *two], seen)


async def idle(url: str, seen: Counter[str]) -> None:
    """Three hundred TCP connections that say nothing."""
    host, _, port = url.removeprefix("ws://").partition(":")
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(300):
            _, writer = await asyncio.open_connection(host, int(port), local_addr=(_ADDRESS, 0))
            stack.callback(writer.transport.abort)
            seen["messages"] += 1
        await asyncio.sleep(_TURN)


async def unread(url: str, seen: Counter[str]) -> None:
    """Fifteen clients ask for a hundred follow lists of 2,000, five times, and do not read."""
    async with _sockets(url, 15) as sockets:
        for socket in sockets:
            socket.transport.pause_reading()
            for number in range(5):
                await _send(socket, ["REQ", f"s{number}", {"kinds": [3], "limit": 100}], seen)
        await asyncio.sleep(_TURN)


async def deletions(url: str, seen: Counter[str]) -> None:
    """Twenty deletion requests, each of 3,300 events."""
    async with _sockets(url, 1) as (socket,):
        for _ in range(20):
            tags = tuple(("e", value) for value in _random_values(3_300))
            await _event(socket, EventTemplate(kind=5, tags=tags, created_at=_now()), seen)
        for _ in range(20):
            await socket.recv()


async def slow_queries(url: str, seen: Counter[str]) -> None:
    """Sixty queries for thousands of authors of no event, each with another kind."""
    async with _sockets(url, 1) as (socket,):
        for number in range(60):
            wanted = {"authors": _random_values(1_900), "kinds": [number], "limit": 5_000}
            await _send(socket, ["REQ", f"s{number}", wanted], seen)
        while True:
            await socket.recv()


async def junk(url: str, seen: Counter[str]) -> None:
    """Kind 24133 from ever new keys to one pubkey, 250 a second."""
    recipient = SecretKey.generate().pubkey
    async with _sockets(url, 1) as (socket,):
        for number in range(2_000):
            template = EventTemplate(
                kind=24133, content=f"junk {number}", tags=(("p", recipient),), created_at=_now()
            )
            await _event(socket, template, seen)
            await asyncio.sleep(1 / 250)


async def requests(url: str, seen: Counter[str]) -> None:
    """Fifty connections that ask for the document (NIP-11), a thousand times a second."""
    host, _, port = url.removeprefix("ws://").partition(":")

    async def ask() -> None:
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection(
                    host, int(port), local_addr=(_ADDRESS, 0)
                )
                with contextlib.closing(writer):
                    for _ in range(20):
                        seen["messages"] += 1
                        writer.write(b"GET / HTTP/1.1\r\nAccept: application/nostr+json\r\n\r\n")
                        if b" 429 " in await reader.readuntil(b"\r\n\r\n"):
                            seen["turned away"] += 1
                            break
                        await asyncio.sleep(1 / 20)
            await asyncio.sleep(1 / 20)

    await asyncio.gather(*(ask() for _ in range(50)))


async def frames(url: str, seen: Counter[str]) -> None:
    """A hundred connections, each 63 pings at one moment, again and again."""
    ping = b"\x89\x80" + bytes(4)
    async with _sockets(url, 100) as sockets:
        while True:
            for socket in sockets:
                socket.transport.write(ping * 63)
                seen["messages"] += 63
            await asyncio.sleep(0.5)


async def fill(url: str, seen: Counter[str]) -> None:
    """Publish the follow lists that `unread` asks for."""
    async with _sockets(url, 1) as (socket,):
        for _ in range(100):
            tags = tuple(("p", value) for value in _random_values(2_000))
            await _event(socket, EventTemplate(kind=3, tags=tags, created_at=_now()), seen)
            await socket.recv()


ATTACKS: tuple[Attack, ...] = (
    filters, idle, unread, deletions, slow_queries, junk, requests, frames,
)  # fmt: skip


async def attack(url: str, seconds: float) -> None:
    """Run one attack after the other, in a random order, until `seconds` have passed."""
    end = time.monotonic() + seconds
    seen: dict[str, Counter[str]] = {}
    order = itertools.chain.from_iterable(
        random.sample(ATTACKS, len(ATTACKS)) for _ in itertools.count()
    )
    for run in itertools.chain([fill], order):
        left = min(_TURN, end - time.monotonic())
        if left <= 0:
            break
        count = seen.setdefault(run.__name__, Counter())
        count["turns"] += 1
        try:
            async with asyncio.timeout(left):
                await run(url, count)
        except TimeoutError:
            pass  # its turn is over
        except (OSError, WebSocketException):
            count["ended by the relay"] += 1
            await asyncio.sleep(0.5)
    for name, count in seen.items():
        print(f"hostile {name}: {', '.join(f'{word} {n}' for word, n in count.items())}")


def _now() -> int:
    return int(time.time())


def main() -> None:
    """Attack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--url", required=True)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    uvloop.run(attack(options.url, options.seconds))


if __name__ == "__main__":
    main()
