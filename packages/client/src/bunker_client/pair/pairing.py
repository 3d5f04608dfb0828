"""Pairing that starts at the client: a nostrconnect:// URI for the signer to scan (NIP-46)."""

import asyncio
import hmac
from collections.abc import Iterable
from typing import Final, Self, Unpack

import orjson

from bunker_client.errors import PairingFailed, client_errors
from bunker_client.remote_signer import RemoteSigner
from bunker_client.request.link import Link
from bunker_client.request.options import Options
from bunker_core.keys import SecretKey
from bunker_core.nips.bunker_uri import NostrConnectURI, new_secret
from bunker_core.nips.nip46 import ClientMetadata, Method, Permission, Request, Response
from bunker_core.nips.relay_url import parse_relay_url

PAIRING_TIMEOUT: Final = 180.0  # seconds: a person has to find their phone and scan


class Pairing:
    """An invitation to a remote signer. Entering subscribes; then show `uri`, then `wait`.

        async with Pairing(["wss://relay.example.com"]) as pairing:
            print(pairing.uri)
            signer = await pairing.wait()

    The signer lives as long as the context. Entering raises RelayUnreachable.
    """

    def __init__(
        self,
        relays: Iterable[str],
        *,
        client_key: SecretKey | None = None,
        permissions: Iterable[Permission] = (),
        metadata: ClientMetadata | None = None,
        **options: Unpack[Options],
    ) -> None:
        key = client_key or SecretKey.generate()
        self._secret = new_secret()
        with client_errors():
            urls = tuple(map(parse_relay_url, relays))
        self.uri: Final = NostrConnectURI(
            key.pubkey,
            urls,
            self._secret,
            tuple(permissions),
            metadata or ClientMetadata(),
        )
        self._answered: asyncio.Future[str] | None = None
        self._signer: RemoteSigner | None = None
        self._link = Link(key, self.uri.relays, None, options, self._consider)

    async def __aenter__(self) -> Self:
        self._answered = asyncio.get_running_loop().create_future()
        await self._link.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await (self._signer or self._link).__aexit__(None, None, None)

    async def wait(self, timeout: float = PAIRING_TIMEOUT) -> RemoteSigner:
        """Return the signer that answered with the secret; raises PairingFailed after `timeout`."""
        if self._answered is None:
            raise RuntimeError("wait is called inside the context")
        try:
            async with asyncio.timeout(timeout):
                remote = await self._answered
        except TimeoutError:
            raise PairingFailed(f"no signer answered the invitation in {timeout:g} s") from None
        await self._link.adopt(remote)
        signer = RemoteSigner(self._link)
        await signer.get_public_key()
        signer.watch_relays()
        self._signer = signer
        return signer

    def _consider(self, author: str, message: Response | Request) -> None:
        """Take the author of a message for our signer if it knows the secret (NIP-46: MUST).

        rust-nostr up to 0.44 accepts an invitation by a `connect` request of its own.
        """
        if self._answered is None or self._answered.done():
            return
        if isinstance(message, Request):
            secret = message.param(1) if message.method == Method.CONNECT.value else ""
        else:
            secret = "" if message.error is not None else _secret_in(message)
        if hmac.compare_digest(secret.encode(), self._secret.encode()):
            self._answered.set_result(author)


def _secret_in(response: Response) -> str:
    """Return the secret as signers send it: bare, or in an object of their own."""
    result = response.result or ""
    if result.startswith("{"):
        try:
            value = orjson.loads(result)
        except orjson.JSONDecodeError:
            return result
        if isinstance(value, dict) and isinstance(value.get("echoed_secret"), str):
            return str(value["echoed_secret"])
    return result
