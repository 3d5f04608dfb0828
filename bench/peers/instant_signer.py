"""A signer that answers at once: python -m bench.peers.instant_signer RELAY_URL

What a round trip costs without a signer's own work: it opens a request, signs with a key in plain
memory and seals the answer; no journal, no audit, no permissions, nothing checked.
"""

import json
import sys
from collections.abc import Mapping

import orjson
import uvloop
from websockets.asyncio.client import connect

from bunker_core.event import EventTemplate, sign_event
from bunker_core.keys import SecretKey
from bunker_core.kinds import NOSTR_CONNECT
from bunker_core.nips import nip44


async def serve(relay: str) -> None:
    """Print the URI and answer until the relay goes."""
    key = SecretKey.generate()
    conversations: dict[str, bytes] = {}
    async with connect(relay, compression=None, max_size=None) as socket:
        await socket.send(
            json.dumps(["REQ", "s", {"kinds": [NOSTR_CONNECT], "#p": [key.pubkey], "limit": 0}])
        )
        while json.loads(await socket.recv())[0] != "EOSE":
            pass
        print(json.dumps({"uri": f"bunker://{key.pubkey}?relay={relay}&secret=bench"}), flush=True)
        async for text in socket:
            message = orjson.loads(text)
            if message[0] == "EVENT":
                await socket.send(_answer(message[2], key, conversations))


def _answer(event: Mapping[str, str], key: SecretKey, conversations: dict[str, bytes]) -> str:
    client = event["pubkey"]
    conversation = conversations.get(client)
    if conversation is None:
        conversation = conversations[client] = nip44.conversation_key(key.shared_x(client))
    request = orjson.loads(nip44.decrypt(event["content"], conversation))
    now = int(event["created_at"])
    result = {"ping": "pong", "connect": "ack", "get_public_key": key.pubkey}.get(
        request["method"], "null"
    )
    if request["method"] == "sign_event":
        asked = orjson.loads(request["params"][0])
        tags = tuple(tuple(tag) for tag in asked["tags"])
        template = EventTemplate(asked["kind"], asked["content"], tags, asked["created_at"])
        result = sign_event(template, key).to_json().decode()
    content = nip44.encrypt(
        orjson.dumps({"id": request["id"], "result": result}).decode(), conversation
    )
    answer = sign_event(EventTemplate(NOSTR_CONNECT, content, (("p", client),), now), key)
    return '["EVENT",' + answer.to_json().decode() + "]"


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
