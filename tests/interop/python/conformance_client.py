"""Python clients for `bunker conformance client`: conformance_client.py LIBRARY [SECONDS].

What node/conformance/client.mjs does, with our client and with nostr_sdk.
"""

import asyncio
import json
import secrets
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Protocol
from urllib.parse import urlencode

PATIENCE = float(next(iter(sys.argv[2:]), "20"))  # seconds


class Unsupported(Exception):
    """The library has no such call."""


class Client(Protocol):
    """What the kit's orders need."""

    async def user(self) -> str: ...
    async def sign(self, event: dict[str, Any]) -> Any: ...
    async def encrypt(self, scheme: str, peer: str, text: str) -> str: ...
    async def decrypt(self, scheme: str, peer: str, payload: str) -> str: ...
    async def ping(self) -> None: ...
    async def logout(self) -> None: ...


class Ours:
    """bunker_client."""

    def __init__(self, signer: Any) -> None:
        self._signer = signer

    @classmethod
    async def connect(cls, uri: str, on_auth_url: Callable[[str], None]) -> "Ours":
        from bunker_client import RemoteSigner
        from bunker_core.keys import SecretKey
        from bunker_core.nips.nip46 import ClientMetadata

        signer = RemoteSigner.from_uri(
            uri,
            client_key=SecretKey.generate(),
            metadata=ClientMetadata("conformance"),
            timeout=PATIENCE,
            on_auth_url=on_auth_url,
        )
        await signer.__aenter__()  # until the process ends
        return cls(signer)

    @classmethod
    async def invite(cls, relays: list[str]) -> tuple[str, Any]:
        from bunker_client.pair.pairing import Pairing
        from bunker_core.nips.nip46 import ClientMetadata

        pairing = Pairing(relays, metadata=ClientMetadata("conformance"), timeout=PATIENCE)
        await pairing.__aenter__()

        async def paired() -> Ours:
            return cls(await pairing.wait(PATIENCE))

        return str(pairing.uri), paired()

    async def user(self) -> str:
        return str(self._signer.user_pubkey)

    async def sign(self, event: dict[str, Any]) -> Any:
        return json.loads((await self._signer.sign_event(event)).to_json())

    async def encrypt(self, scheme: str, peer: str, text: str) -> str:
        return str(await getattr(self._signer, f"{scheme}_encrypt")(peer, text))

    async def decrypt(self, scheme: str, peer: str, payload: str) -> str:
        return str(await getattr(self._signer, f"{scheme}_decrypt")(peer, payload))

    async def ping(self) -> None:
        await self._signer.ping()

    async def logout(self) -> None:
        await self._signer.logout()


class NostrSdk:
    """rust-nostr's."""

    def __init__(self, uri: str, key: Any = None) -> None:
        from nostr_sdk import (  # type: ignore[import-untyped]
            Keys,
            NostrConnect,
            NostrConnectUri,
        )

        patience = timedelta(seconds=PATIENCE)
        key = key or Keys.generate()
        self._client = NostrConnect(NostrConnectUri.parse(uri), key, patience, None)

    @classmethod
    async def connect(cls, uri: str, on_auth_url: Callable[[str], None]) -> "NostrSdk":
        return cls(uri)

    @classmethod
    async def invite(cls, relays: list[str]) -> tuple[str, Any]:
        from nostr_sdk import Keys

        key = Keys.generate()
        query = urlencode(
            [("relay", url) for url in relays]
            + [("secret", secrets.token_hex(8)), ("metadata", json.dumps({"name": "nostr_sdk"}))]
        )
        uri = f"nostrconnect://{key.public_key().to_hex()}?{query}"
        client = cls(uri, key)

        async def paired() -> "NostrSdk":
            await client.user()  # it listens from its first request on
            return client

        return uri, paired()

    async def user(self) -> str:
        return str((await self._client.get_public_key_async()).to_hex())

    async def sign(self, event: dict[str, Any]) -> Any:
        from nostr_sdk import EventBuilder, Kind, PublicKey, Tag, Timestamp

        builder = EventBuilder(Kind(event["kind"]), event["content"])
        builder = builder.tags([Tag.parse(tag) for tag in event["tags"]])
        builder = builder.custom_created_at(Timestamp.from_secs(event["created_at"]))
        unsigned = builder.finalize_unsigned(PublicKey.parse(await self.user()))
        return json.loads((await self._client.sign_event_async(unsigned)).as_json())

    async def encrypt(self, scheme: str, peer: str, text: str) -> str:
        from nostr_sdk import PublicKey

        call = getattr(self._client, f"{scheme}_encrypt_async")
        return str(await call(PublicKey.parse(peer), text))

    async def decrypt(self, scheme: str, peer: str, payload: str) -> str:
        from nostr_sdk import PublicKey

        call = getattr(self._client, f"{scheme}_decrypt_async")
        return str(await call(PublicKey.parse(peer), payload))

    async def ping(self) -> None:
        raise Unsupported

    async def logout(self) -> None:
        raise Unsupported


LIBRARIES: dict[str, Any] = {"ours": Ours, "nostr_sdk": NostrSdk}


def tell(**line: Any) -> None:
    print(json.dumps(line), flush=True)


class Clients:
    """Many clients of one library."""

    def __init__(self, library: Any) -> None:
        self.library = library
        self.known: dict[str, Client] = {}
        self.waiting: dict[str, Any] = {}

    async def obey(self, order: dict[str, Any]) -> Any:
        name = order["client"]
        match order["do"]:
            case "connect":
                client = await self.library.connect(
                    order["uri"], lambda url: tell(client=name, auth_url=url)
                )
                self.known[name] = client
                return {"user": await client.user()}
            case "invite":
                uri, paired = await self.library.invite(order["relays"])
                self.waiting[name] = asyncio.create_task(paired)
                return {"uri": uri}
            case "paired":
                self.known[name] = await self.waiting[name]
                return {"user": await self.known[name].user()}
            case "sign":
                return await self.known[name].sign(order["event"])
            case "encrypt":
                return await self.known[name].encrypt(order["scheme"], order["peer"], order["text"])
            case "decrypt":
                return await self.known[name].decrypt(
                    order["scheme"], order["peer"], order["payload"]
                )
            case "ping":
                return await self.known[name].ping()
            case "logout":
                return await self.known[name].logout()
        raise Unsupported

    async def answer(self, order: dict[str, Any]) -> None:
        try:
            tell(answered=order["number"], result=await self.obey(order))
        except Unsupported:
            tell(answered=order["number"], unsupported=True)
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is what the caller gets
            tell(answered=order["number"], error=str(error) or type(error).__name__)


async def main(library: str) -> None:
    clients = Clients(LIBRARIES[library])
    orders = asyncio.StreamReader(limit=8 * 1024 * 1024)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    async with asyncio.TaskGroup() as tasks:
        async for line in orders:
            tasks.create_task(clients.answer(json.loads(line)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
