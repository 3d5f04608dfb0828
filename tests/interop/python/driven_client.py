"""What node/driven.mjs does, with nostr_sdk and with our own client: driven_client.py LIBRARY."""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Protocol

PATIENCE = timedelta(seconds=60)


class Client(Protocol):
    """What the test asks for."""

    pubkey: str

    async def user(self) -> str: ...
    async def sign(self, template: dict[str, Any]) -> Any: ...
    async def decrypt(self, peer: str, payload: str) -> str: ...


class NostrSdk:
    """rust-nostr's."""

    def __init__(self, uri: str) -> None:
        from nostr_sdk import (  # type: ignore[import-untyped]
            Keys,
            NostrConnect,
            NostrConnectUri,
        )

        key = Keys.generate()
        self.pubkey = key.public_key().to_hex()
        self._client = NostrConnect(NostrConnectUri.parse(uri), key, PATIENCE, None)

    async def user(self) -> str:
        user = await self._client.get_public_key_async()
        return str(user.to_hex())

    async def sign(self, template: dict[str, Any]) -> Any:
        from nostr_sdk import EventBuilder, Kind, PublicKey

        builder = EventBuilder(Kind(template["kind"]), template["content"])
        unsigned = builder.finalize_unsigned(PublicKey.parse(await self.user()))
        event = await self._client.sign_event_async(unsigned)
        return json.loads(event.as_json())

    async def decrypt(self, peer: str, payload: str) -> str:
        from nostr_sdk import PublicKey

        return str(await self._client.nip44_decrypt_async(PublicKey.parse(peer), payload))


class Ours:
    """bunker_client."""

    def __init__(self, uri: str) -> None:
        from bunker_client import RemoteSigner
        from bunker_core.keys import SecretKey

        key = SecretKey.generate()
        self.pubkey = key.pubkey
        patience = PATIENCE.total_seconds()
        self._client = RemoteSigner.from_uri(uri, client_key=key, approval_timeout=patience)

    async def user(self) -> str:
        await self._client.__aenter__()  # until the process ends
        return self._client.user_pubkey

    async def sign(self, template: dict[str, Any]) -> Any:
        return json.loads((await self._client.sign_event(template)).to_json())

    async def decrypt(self, peer: str, payload: str) -> str:
        return await self._client.nip44_decrypt(peer, payload)


LIBRARIES: dict[str, Callable[[str], Client]] = {"nostr_sdk": NostrSdk, "our client": Ours}


async def main(library: str) -> None:
    clients: list[Client] = []

    async def obey(order: dict[str, Any]) -> Any:
        match order["do"]:
            case "connect":
                clients.append(LIBRARIES[library](order["uri"]))
                return {"user": await clients[0].user(), "client": clients[0].pubkey}
            case "sign":
                template = {"kind": order["kind"], "content": order["content"], "tags": []}
                return await clients[0].sign({**template, "created_at": int(time.time())})
            case _:
                return await clients[0].decrypt(order["peer"], order["payload"])

    async def answer(order: dict[str, Any]) -> None:
        try:
            said = {"result": await obey(order)}
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is what the caller gets
            said = {"error": str(error)}
        print(json.dumps({"answered": order["number"], **said}), flush=True)

    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    async with asyncio.TaskGroup() as tasks:
        async for line in orders:
            tasks.create_task(answer(json.loads(line)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
