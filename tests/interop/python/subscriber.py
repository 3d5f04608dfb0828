"""What node/subscriber.mjs does, with rust-nostr: subscriber.py LIBRARY RELAY_URL TAG."""

import asyncio
import json
import sys
from typing import Any

from nostr_sdk import (  # type: ignore[import-untyped]
    Client,
    Filter,
    RelayUrl,
    ReqTarget,
)


def tell(**line: Any) -> None:
    print(json.dumps(line), flush=True)


async def main(url: str, tag: str) -> None:
    client = Client()
    await client.add_relay(RelayUrl.parse(url))
    await client.connect()
    notifications = client.notifications()
    asked = Filter.from_json(json.dumps({"kinds": [20001], "#t": [tag]}))
    await client.subscribe(ReqTarget.auto([asked]))
    while True:
        told = await notifications.next()
        if told.is_new_event():
            tell(event=told.event.content())
        elif told.is_message() and told.message.as_enum().is_end_of_stored_events():
            tell(subscribed=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[2:]))
