"""A small client for the kit to judge: naive_client.py [FAULT]. Sound without a fault."""

import asyncio
import json
import secrets
import sys
from typing import Any

from bunker.conformance.wire import rpc
from bunker.conformance.wire.peer import Peer
from bunker.conformance.wire.trace import Trace
from bunker_core.event import parse_event, verify
from bunker_core.keys import SecretKey
from bunker_core.nips.bunker_uri import parse_bunker_uri
from bunker_core.nips.channel import Scheme

FAULT = next(iter(sys.argv[1:]), "")


class Client:
    def __init__(self, uri: str) -> None:
        self.uri = parse_bunker_uri(uri)
        self.key = SecretKey.generate()
        self.user = ""
        self.peer = Peer("", self.uri.relays[0], Trace(), 60.0)
        self.waiting: dict[Any, asyncio.Future[Any]] = {}
        self.reading: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        await self.peer.open()
        await self.peer.subscribe("s", {"kinds": [24133], "#p": [self.key.pubkey]})
        self.reading = asyncio.create_task(self.read())
        signer = self.uri.remote_signer_pubkey
        await self.ask("connect", signer, "" if FAULT == "no secret" else self.uri.secret)
        self.user = await self.ask("get_public_key")
        if FAULT == "one key":
            self.user = signer

    async def ask(self, method: str, *params: Any) -> str:
        number: Any = len(self.waiting) if FAULT == "ids are numbers" else secrets.token_hex(8)
        future = asyncio.get_running_loop().create_future()
        self.waiting[number] = future
        value = {"id": number, "method": method, "params": list(params)}
        scheme = Scheme.NIP04 if FAULT == "nip04" else Scheme.NIP44
        event, _ = rpc.seal(self.key, self.uri.remote_signer_pubkey, value, scheme=scheme)
        await self.peer.send("EVENT", event)
        return str(await future)

    async def read(self) -> None:
        while True:
            message = await self.peer.next()
            if message[0] != "EVENT":
                continue
            answer = rpc.answer(self.key, message[2])
            if answer is None:
                continue
            if FAULT != "any author" and answer.event.pubkey != self.uri.remote_signer_pubkey:
                continue
            verify(answer.event)
            future = self.waiting.get(answer.value.get("id"))
            if future is None or future.done():
                continue
            error = None if FAULT == "reads no errors" else answer.error
            if error:
                future.set_exception(ValueError(error))
            else:
                future.set_result(answer.value["result"])

    async def sign(self, template: dict[str, Any]) -> Any:
        event = json.loads(await self.ask("sign_event", json.dumps(template)))
        verify(parse_event(event))
        if FAULT != "takes any event":
            asked = template | {"pubkey": self.user}
            if any(event[name] != value for name, value in asked.items()):
                raise ValueError("another event")
        return event


async def main() -> None:
    clients: dict[str, Client] = {}

    async def obey(order: dict[str, Any]) -> Any:
        name = order["client"]
        match order["do"]:
            case "connect":
                clients[name] = client = Client(order["uri"])
                await client.connect()
                return {"user": client.user}
            case "sign":
                return await clients[name].sign(order["event"])
        raise NotImplementedError

    async def answer(order: dict[str, Any]) -> None:
        try:
            said: dict[str, Any] = {"result": await obey(order)}
        except NotImplementedError:
            said = {"unsupported": True}
        except Exception as error:  # noqa: BLE001 -- the caller's
            said = {"error": str(error)}
        print(json.dumps({"answered": order["number"], **said}), flush=True)

    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    tasks = set()
    async for line in orders:
        tasks.add(asyncio.create_task(answer(json.loads(line))))


if __name__ == "__main__":
    asyncio.run(main())
