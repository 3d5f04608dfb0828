"""rust-nostr's LocalRelay in a process of its own; prints its URL and runs until it is killed.

local_relay.py [PORT], a free one unless given.
"""

import asyncio
import json
import sys

from nostr_sdk import LocalRelayBuilder  # type: ignore[import-untyped]


async def main() -> None:
    builder = LocalRelayBuilder().addr("127.0.0.1")
    if sys.argv[1:]:
        builder = builder.port(int(sys.argv[1]))
    relay = builder.build()
    await relay.run()
    print(json.dumps({"url": str(await relay.url())}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
