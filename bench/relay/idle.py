"""Memory of idle connections: each with one subscription, as a waiting signer has.

python -m bench.relay.idle --connections 2000
"""

import argparse
import json
import resource
from contextlib import AsyncExitStack

import uvloop
from websockets.asyncio.client import connect

from bench.relay.process import Relay, relay

_WARM_UP = 50  # connections: what is loaded once is not counted


async def measure(subject: Relay, count: int) -> None:
    """Open the connections and print what each has cost."""
    async with AsyncExitStack() as stack:

        async def open_one(number: int) -> None:
            socket = await stack.enter_async_context(
                connect(subject.url, compression=None, proxy=None, ping_interval=None)
            )
            wanted = {"kinds": [24133], "#p": [f"{number:064x}"], "limit": 0}
            await socket.send(json.dumps(["REQ", "s", wanted]))
            while json.loads(await socket.recv())[0] != "EOSE":
                pass

        for number in range(_WARM_UP):
            await open_one(number)
        before = subject.rss()
        for number in range(_WARM_UP, _WARM_UP + count):
            await open_one(number)
        after = subject.rss()
    print(f"base {before / 2**20:.1f} MiB, with {count} more {after / 2**20:.1f} MiB")
    print(f"{(after - before) / count / 1024:.1f} KiB a connection")


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=2_000)
    options = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))  # the relay inherits it
    with relay() as subject:
        uvloop.run(measure(subject, options.connections))


if __name__ == "__main__":
    main()
