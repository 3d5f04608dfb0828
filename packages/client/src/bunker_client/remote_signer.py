"""RemoteSigner: the methods of NIP-46 as a Python object."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Self

import orjson

from bunker_client.errors import ClientError, InvalidReply, PairingFailed, RequestDenied
from bunker_client.link import OPEN_TIMEOUT, Link
from bunker_core.bunker_uri import BunkerURI, parse_bunker_uri
from bunker_core.errors import InvalidEvent, InvalidRPC, InvalidURI
from bunker_core.event import (
    EventTemplate,
    VerifiedEvent,
    is_hex,
    parse_event_json,
    parse_template,
    verify,
)
from bunker_core.keys import SecretKey
from bunker_core.nip46 import (
    ClientMetadata,
    Method,
    Permission,
    format_permissions,
    parse_relay_list,
)
from bunker_core.relay_url import parse_relay_url

REQUEST_TIMEOUT: Final = 60.0  # seconds; a person may have to read and tap
APPROVAL_TIMEOUT: Final = 180.0  # seconds from an auth_url on
PROBE_TIMEOUT: Final = 5.0  # seconds for methods that many signers do not know


class RemoteSigner:
    """A paired remote signer. Use it as an async context manager: entering connects.

    Every method raises a ClientError (RequestTimeout, RequestDenied, InvalidReply, and
    RelayUnreachable on entering). `timeout` is in seconds. Pubkeys are 64 hex characters.
    """

    def __init__(
        self,
        link: Link,
        *,
        secret: str | None = None,
        permissions: Iterable[Permission] = (),
        metadata: ClientMetadata | None = None,
        timeout: float = REQUEST_TIMEOUT,
    ) -> None:
        """Wrap a link; `from_uri` and `Pairing` make one."""
        self._link = link
        self._secret = secret
        self._permissions = tuple(permissions)
        self._metadata = metadata or ClientMetadata()
        self._timeout = timeout
        self._user_pubkey: str | None = None

    @classmethod
    def from_uri(
        cls,
        uri: str | BunkerURI,
        *,
        client_key: SecretKey | None = None,
        permissions: Iterable[Permission] = (),
        metadata: ClientMetadata | None = None,
        timeout: float = REQUEST_TIMEOUT,
        approval_timeout: float = APPROVAL_TIMEOUT,
        on_auth_url: Callable[[str], None] | None = None,
    ) -> "RemoteSigner":
        """Return the signer behind a bunker:// URI; raises InvalidURI.

        `client_key` is the key that this app is known by to the signer, throw-away unless given.
        `permissions` is what the app asks for in advance, `metadata` how it presents itself.
        `on_auth_url` is called with a page where the user has to agree first.
        """
        parsed = parse_bunker_uri(uri) if isinstance(uri, str) else uri
        link = Link(
            client_key or SecretKey.generate(),
            parsed.relays,
            parsed.remote_signer_pubkey,
            approval_timeout=approval_timeout,
            open_timeout=min(timeout, OPEN_TIMEOUT),
            on_auth_url=on_auth_url,
        )
        return cls(
            link,
            secret=parsed.secret,
            permissions=permissions,
            metadata=metadata,
            timeout=timeout,
        )

    async def __aenter__(self) -> Self:
        await self._link.__aenter__()
        try:
            await self.connect()
            await self.settle()
        except BaseException:
            await self._link.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._link.__aexit__(None, None, None)

    @property
    def user_pubkey(self) -> str:
        """The key that signs. Not the remote signer's own key, which only carries the traffic."""
        if self._user_pubkey is None:
            raise ClientError("not connected yet")
        return self._user_pubkey

    @property
    def relays(self) -> tuple[str, ...]:
        """The relays in use."""
        return self._link.pool.relay_urls

    async def connect(self, *, timeout: float | None = None) -> None:
        """Introduce this client by the secret of the URI; raises PairingFailed."""
        params = [
            self._link.remote or "",
            self._secret or "",
            format_permissions(self._permissions),
            "" if self._metadata == ClientMetadata() else self._metadata.to_json(),
        ]
        while not params[-1]:
            params.pop()
        try:
            result = await self._call(Method.CONNECT, params, timeout)
        except RequestDenied as denied:
            # A secret is used up by the first connect. If its answer was lost, this client is
            # paired all the same, and can find out by using the connection.
            try:
                await self.get_public_key(timeout=PROBE_TIMEOUT)
            except ClientError:
                raise PairingFailed(str(denied)) from denied
            return
        if result not in ("ack", self._secret):
            raise PairingFailed("the signer answered connect with neither ack nor the secret")

    async def get_public_key(self, *, timeout: float | None = None) -> str:
        """Return the user's pubkey, which signs."""
        pubkey = await self._call(Method.GET_PUBLIC_KEY, (), timeout)
        if not is_hex(pubkey, 64):
            raise InvalidReply("get_public_key: the signer did not answer with a public key")
        self._user_pubkey = pubkey
        return pubkey

    async def sign_event(
        self, event: EventTemplate | Mapping[str, Any], *, timeout: float | None = None
    ) -> VerifiedEvent:
        """Return `event` signed by the user, with id and signature checked.

        A mapping needs `kind`; `content`, `tags` and `created_at` (now) have defaults. Raises
        InvalidEvent for what is no event and InvalidReply when the signer signed something else.
        """
        template = event if isinstance(event, EventTemplate) else parse_template(event)
        asked = orjson.dumps({**template.to_dict(), "pubkey": self.user_pubkey}).decode()
        signed = await self._call(Method.SIGN_EVENT, (asked,), timeout)
        try:
            result = verify(parse_event_json(signed))
        except InvalidEvent as error:
            raise InvalidReply(f"sign_event: {error}") from None
        if result.pubkey != self.user_pubkey:
            raise InvalidReply("sign_event: the event is signed by another key")
        if EventTemplate(result.kind, result.content, result.tags, result.created_at) != template:
            raise InvalidReply("sign_event: the signer signed another event than it was given")
        return result

    # The name that guides use.
    request_signature = sign_event

    async def nip44_encrypt(
        self, peer: str, plaintext: str, *, timeout: float | None = None
    ) -> str:
        """Return `plaintext` encrypted by the user to `peer` (NIP-44)."""
        return await self._call(Method.NIP44_ENCRYPT, (peer, plaintext), timeout)

    async def nip44_decrypt(self, peer: str, payload: str, *, timeout: float | None = None) -> str:
        """Return the plaintext of what `peer` and the user exchanged (NIP-44)."""
        return await self._call(Method.NIP44_DECRYPT, (peer, payload), timeout)

    async def nip04_encrypt(
        self, peer: str, plaintext: str, *, timeout: float | None = None
    ) -> str:
        """Return `plaintext` encrypted by the user to `peer` (NIP-04, deprecated)."""
        return await self._call(Method.NIP04_ENCRYPT, (peer, plaintext), timeout)

    async def nip04_decrypt(self, peer: str, payload: str, *, timeout: float | None = None) -> str:
        """Return the plaintext of what `peer` and the user exchanged (NIP-04, deprecated)."""
        return await self._call(Method.NIP04_DECRYPT, (peer, payload), timeout)

    async def ping(self, *, timeout: float | None = None) -> None:
        """Return when the signer answers; it needs no permission and no person."""
        if await self._call(Method.PING, (), timeout) != "pong":
            raise InvalidReply("ping: the signer did not answer pong")

    async def switch_relays(self, *, timeout: float | None = None) -> tuple[str, ...]:
        """Ask where the signer wants to be reached, move there, return the relays in use."""
        result = await self._call(Method.SWITCH_RELAYS, (), timeout)
        try:
            wanted = parse_relay_list(result)
            if wanted:
                await self._move_to(wanted)
        except (InvalidRPC, InvalidURI) as error:
            raise InvalidReply(f"switch_relays: {error}") from None
        return self.relays

    async def logout(self, *, timeout: float | None = None) -> None:
        """Ask the signer to forget this client.

        A courtesy, not a boundary (NIP-46): drop the client key whatever the answer.
        """
        await self._call(Method.LOGOUT, (), PROBE_TIMEOUT if timeout is None else timeout)

    async def settle(self) -> None:
        """Do what NIP-46 asks of a client right after connecting: learn the user, the relays."""
        await self.get_public_key()
        try:
            await self.switch_relays(timeout=PROBE_TIMEOUT)
        except ClientError:
            return  # older signers do not know the method, some do not even answer

    async def _move_to(self, relays: Iterable[str]) -> None:
        pool = self._link.pool
        wanted = dict.fromkeys(map(parse_relay_url, relays))
        for relay in wanted:
            pool.add_relay(relay)
        for relay in pool.relay_urls:
            if relay not in wanted:
                await pool.remove_relay(relay)

    async def _call(self, method: Method, params: Iterable[str], timeout: float | None) -> str:
        seconds = self._timeout if timeout is None else timeout
        return await self._link.call(method.value, params, seconds)
