"""rust-nostr's LocalRelay, its rate limit lifted: python local_relay.py PORT."""

import asyncio
import sys

from nostr_sdk import LocalRelayBuilder, RateLimit  # type: ignore[import-untyped]


async def main(port: int) -> None:
    limit = RateLimit(max_reqs=1_000_000, notes_per_minute=100_000_000)
    relay = LocalRelayBuilder().addr("127.0.0.1").port(port).rate_limit(limit).build()
    await relay.run()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
