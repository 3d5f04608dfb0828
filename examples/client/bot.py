"""A bot: answers every mention of its user with a signed note, until it is stopped."""

import asyncio
import os
import time

from bunker_client import signer_from
from bunker_core.filter import Filter
from bunker_core.pool import RelayPool


async def main():
    async with (
        signer_from(os.environ.get("BUNKER_URI", "session:default")) as signer,
        RelayPool([os.environ["BOT_RELAY"]]) as pool,
    ):
        me = await signer.get_public_key()
        since = int(time.time())
        mentions = Filter(kinds=frozenset({1}), tags=(("p", frozenset({me})),), since=since)
        async for mention in pool.subscribe(mentions):
            if mention.event.pubkey != me:  # or it would answer itself for ever
                tags = [["e", mention.event.id], ["p", mention.event.pubkey]]
                answer = {"kind": 1, "content": "At your service", "tags": tags}
                pool.publish(await signer.sign_event(answer))


if __name__ == "__main__":
    asyncio.run(main())
