"""rust-nostr's LocalRelay in a process of its own; prints its URL and runs until it is killed."""

import asyncio
import json

from nostr_sdk import LocalRelayBuilder  # type: ignore[import-untyped]


async def main() -> None:
    relay = LocalRelayBuilder().addr("127.0.0.1").build()
    await relay.run()
    print(json.dumps({"url": str(await relay.url())}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
