"""A client that asks the signer under test, and may ask as no library would."""

import secrets
from typing import Any

from bunker.conformance.wire import rpc
from bunker.conformance.wire.peer import Message, Peer, request
from bunker.conformance.wire.rpc import Answer
from bunker_core.keys import SecretKey
from bunker_core.nips.channel import Scheme


class Client:
    """One client key on one relay. Requests of others with the same key are not its own."""

    def __init__(self, peer: Peer, key: SecretKey, signer: str) -> None:
        """`signer` is the remote-signer pubkey; `peer` is open."""
        self.peer = peer
        self.key = key
        self.signer = signer
        self.user = ""  # the user's pubkey, where it is known
        peer.reveal = lambda message: rpc.reveal(key, message)

    async def listen(self) -> None:
        """Subscribe to the responses."""
        await self.peer.subscribe("responses", {"kinds": [24133], "#p": [self.key.pubkey]})

    async def ask(self, method: str, *params: Any, **options: Any) -> Answer:
        """Send a request with an id of its own and return its response; raises Silence."""
        request_id = secrets.token_hex(8)
        value = {"id": request_id, "method": method, "params": list(params)}
        await self.send(value, **options)
        return await self.answer(request_id, f"response to {method}")

    async def send(
        self,
        value: Any,
        *,
        scheme: Scheme = Scheme.NIP44,
        created_at: int | None = None,
        sig: str = "",
    ) -> dict[str, Any]:
        """Send any value (JSON, or text as it is) without waiting; return its event.

        `sig` takes the place of the true signature.
        """
        event, text = rpc.seal(self.key, self.signer, value, scheme=scheme, created_at=created_at)
        plain: dict[str, Any] = event.to_dict()
        if sig:
            plain["sig"] = sig
        await self.peer.send("EVENT", plain, plain=text)
        return plain

    async def send_content(self, content: str) -> None:
        """Send an event with any content, encrypted or not."""
        await self.peer.send("EVENT", request(self.key, self.signer, content))

    async def answer(self, request_id: Any, awaited: str = "response") -> Answer:
        """Return the next response to a request of this id; raises Silence."""
        found: list[Answer] = []

        def ours(message: Message) -> bool:
            if message[0] != "EVENT" or len(message) < 3:
                return False
            got = rpc.answer(self.key, message[2])
            if got is None or got.value.get("id") != request_id:
                return False
            found.append(got)
            return True

        await self.peer.until(ours, awaited)
        return found[0]

    async def settled(self) -> None:
        """Return when the signer has had time for what was sent before: it answers a ping."""
        await self.ask("ping")

    async def came(self) -> list[Answer]:
        """Return the responses that have come and were not waited for."""
        messages = await self.peer.unread()
        answers = (rpc.answer(self.key, m[2]) for m in messages if m[0] == "EVENT")
        return [item for item in answers if item is not None]
