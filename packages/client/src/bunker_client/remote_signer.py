"""RemoteSigner: the methods of NIP-46 as a Python object."""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, Self, Unpack

import orjson

from bunker_client.errors import (
    ClientError,
    ConnectionEnded,
    InvalidReply,
    InvalidRequest,
    PairingFailed,
    RequestDenied,
    client_errors,
)
from bunker_client.keys.uri_keys import KeptKey, URIKeys
from bunker_client.request.call import Patience
from bunker_client.request.link import Link
from bunker_client.request.options import Options
from bunker_client.request.progress import Progress
from bunker_client.request.session import Session
from bunker_client.request.signed import read_signed
from bunker_core.errors import InvalidRPC, InvalidURI, PoolError
from bunker_core.event import (
    EventTemplate,
    VerifiedEvent,
    event_id,
    is_hex,
    parse_template,
)
from bunker_core.keys import SecretKey
from bunker_core.nips.bunker_uri import MAX_RELAYS, BunkerURI, parse_bunker_uri
from bunker_core.nips.nip19 import parse_pubkey
from bunker_core.nips.nip46 import (
    ClientMetadata,
    Method,
    Permission,
    format_permissions,
    parse_relay_list,
)
from bunker_core.nips.payload import fault
from bunker_core.nips.relay_url import parse_relay_url
from bunker_core.signer import Signer

PROBE_TIMEOUT: Final = 5.0  # seconds for methods that many signers do not know


# What helps when a signer does not admit this client.
_WAY_OUT: Final = (
    "a bunker:// URI pairs one client, once: ask the signer for a fresh one, or use a session that "
    "`bunker pair` kept"
)


class RemoteSigner(Signer):
    """A paired remote signer. Use it as an async context manager: entering connects.

    Every method raises a ClientError that says where the request came to an end. A method's own
    `timeout`, in seconds, replaces all the deadlines of the signer. A pubkey is 64 hex
    characters, or an npub.
    """

    def __init__(
        self,
        link: Link,
        *,
        secret: str | None = None,
        permissions: Iterable[Permission] = (),
        metadata: ClientMetadata | None = None,
        user_pubkey: str | None = None,
        on_logout: Callable[[], None] | None = None,
        on_moved: Callable[[Session], None] | None = None,
    ) -> None:
        """Wrap a link; `from_uri`, `from_session` and `Pairing` make one."""
        self._link = link
        self._secret = secret
        self._permissions = tuple(permissions)
        self._metadata = metadata or ClientMetadata()
        self._user_pubkey = user_pubkey
        self._on_logout = on_logout
        self._on_moved = on_moved
        self._kept: KeptKey | None = None
        self._relay_checks: asyncio.Task[None] | None = None
        self._relays_known = asyncio.Event()
        self._moving = asyncio.Lock()

    @classmethod
    def from_uri(
        cls,
        uri: str | BunkerURI,
        *,
        client_key: SecretKey | None = None,
        uri_keys: URIKeys | None = None,
        permissions: Iterable[Permission] = (),
        metadata: ClientMetadata | None = None,
        **options: Unpack[Options],
    ) -> Self:
        """Return the signer behind a bunker:// URI; raises InvalidURI.

        `client_key` is the key that this app is known by to the signer. Unless it is given, the key
        that the URI was used with before is taken from `uri_keys` (default: where sessions are
        kept, sealed), or a fresh one is kept there: a URI pairs one client, and the second run is
        the same client. `permissions` is what the app asks for in advance, `metadata` how it
        presents itself.
        """
        with client_errors():
            parsed = parse_bunker_uri(uri) if isinstance(uri, str) else uri
        kept = None if client_key else KeptKey(uri_keys or URIKeys(), parsed)
        key = client_key or (kept and kept.load()) or SecretKey.generate()
        link = Link(key, parsed.relays, parsed.remote_signer_pubkey, options)
        signer = cls(
            link,
            secret=parsed.secret,
            permissions=permissions,
            metadata=metadata,
            on_logout=kept.forget if kept else None,
        )
        signer._kept = kept
        return signer

    @classmethod
    def from_session(
        cls,
        session: Session,
        *,
        on_logout: Callable[[], None] | None = None,
        on_moved: Callable[[Session], None] | None = None,
        **options: Unpack[Options],
    ) -> Self:
        """Return the signer of a session that was kept; entering sends no `connect`.

        `on_logout` is called when the session ends by `logout`, to delete it where it is kept, and
        `on_moved` with the new session when the signer went to other relays.
        """
        link = Link(session.client_key, session.relays, session.remote_signer_pubkey, options)
        user = session.user_pubkey
        return cls(link, user_pubkey=user, on_logout=on_logout, on_moved=on_moved)

    async def __aenter__(self) -> Self:
        await self._link.__aenter__()
        try:
            if self._user_pubkey is None:
                if self._kept:
                    self._kept.save(self._link.key)  # before it is known: an answer may be lost
                await self.connect()
                await self.get_public_key()
        except BaseException:
            await self._link.__aexit__(None, None, None)
            raise
        self.watch_relays()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._relay_checks:
            self._relay_checks.cancel()
            await asyncio.wait([self._relay_checks])
        await self._link.__aexit__(None, None, None)

    @property
    def session(self) -> Session:
        """What to keep in order to come back without a new pairing."""
        if self._link.remote is None:
            raise ConnectionEnded("not connected yet")
        return Session(self._link.key, self._link.remote, self.user_pubkey, self.relays)

    def progress(self) -> AsyncIterator[Progress]:
        """Return an iterator of every step of every request from now on, until the context ends."""
        return self._link.progress()

    @property
    def user_pubkey(self) -> str:
        """The key that signs. Not the remote signer's own key, which only carries the traffic."""
        if self._user_pubkey is None:
            raise ConnectionEnded("not connected yet")
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
                if self._kept:
                    self._kept.forget()
                raise PairingFailed(f"{denied}; {_WAY_OUT}") from denied
            return
        if result not in ("ack", self._secret):
            raise PairingFailed("the signer answered connect with neither ack nor the secret")

    async def get_public_key(self, *, timeout: float | None = None) -> str:
        pubkey = await self._call(Method.GET_PUBLIC_KEY, (), timeout)
        if not is_hex(pubkey, 64):
            raise InvalidReply("get_public_key: the signer did not answer with a public key")
        self._user_pubkey = pubkey
        return pubkey

    async def sign_event(
        self, event: EventTemplate | Mapping[str, Any], *, timeout: float | None = None
    ) -> VerifiedEvent:
        """Return `event` signed by the user, with id and signature checked.

        A mapping needs `kind`; `content`, `tags` and `created_at` have defaults; the last is now,
        by the relays' clocks if this machine's is far off. Raises InvalidRequest for what is no
        event and InvalidReply, which says what differs, when the signer signed something else.
        """
        with client_errors():
            now = self._link.now()
            template = event if isinstance(event, EventTemplate) else parse_template(event, now=now)
            event_id(template, self.user_pubkey)  # text that has no UTF-8 is found here
        asked = orjson.dumps({**template.to_dict(), "pubkey": self.user_pubkey}).decode()
        signed = await self._call(Method.SIGN_EVENT, (asked,), timeout)
        return read_signed(
            signed, template, self.user_pubkey, accept_created_at=self._link.accept_created_at
        )

    # The name that guides use.
    request_signature = sign_event

    async def nip44_encrypt(
        self, peer: str, plaintext: str, *, timeout: float | None = None
    ) -> str:
        return await self._crypt(Method.NIP44_ENCRYPT, peer, plaintext, timeout)

    async def nip44_decrypt(self, peer: str, payload: str, *, timeout: float | None = None) -> str:
        return await self._crypt(Method.NIP44_DECRYPT, peer, payload, timeout)

    async def nip44v3_encrypt(
        self, peer: str, plaintext: bytes, kind: int, scope: str, *, timeout: float | None = None
    ) -> str:
        """Return `plaintext` encrypted to `peer`, bound to an event's kind and to a scope.

        Version 3 of NIP-44 is a draft: Amber, Clave, Keep and this signer answer it.
        """
        text = b64encode(plaintext).decode()
        return await self._scoped(Method.NIP44V3_ENCRYPT, peer, kind, scope, text, timeout)

    async def nip44v3_decrypt(
        self, peer: str, payload: str, kind: int, scope: str, *, timeout: float | None = None
    ) -> bytes:
        """Return the plaintext of a version 3 payload that is meant for `kind` and `scope`."""
        method = Method.NIP44V3_DECRYPT
        result = await self._scoped(method, peer, kind, scope, payload, timeout)
        try:
            return b64decode(result, validate=True)
        except ValueError:
            raise InvalidReply(f"{method.value}: the signer's answer is not base64") from None

    async def nip04_encrypt(
        self, peer: str, plaintext: str, *, timeout: float | None = None
    ) -> str:
        return await self._crypt(Method.NIP04_ENCRYPT, peer, plaintext, timeout)

    async def nip04_decrypt(self, peer: str, payload: str, *, timeout: float | None = None) -> str:
        return await self._crypt(Method.NIP04_DECRYPT, peer, payload, timeout)

    async def ping(self, *, timeout: float | None = None) -> None:
        """Return when the signer answers; it needs no permission and no person."""
        if await self._call(Method.PING, (), timeout) != "pong":
            raise InvalidReply("ping: the signer did not answer pong")

    async def switch_relays(self, *, timeout: float | None = None) -> tuple[str, ...]:
        """Ask where the signer wants to be reached, move there, return the relays in use.

        The present relays are kept when none of the new ones can be reached (InvalidReply).
        """
        result = await self._call(Method.SWITCH_RELAYS, (), timeout)
        try:
            wanted = parse_relay_list(result)
            if wanted and len(wanted) > MAX_RELAYS:
                raise InvalidRPC(f"more than {MAX_RELAYS} relays")
            async with self._moving:
                before = self.relays
                if wanted:
                    await self._link.move_to(map(parse_relay_url, wanted))
        except (InvalidRPC, InvalidURI, PoolError) as error:
            raise InvalidReply(f"switch_relays: {error}") from None
        if self._on_moved and self.relays != before:
            self._on_moved(self.session)
        return self.relays

    async def logout(self, *, timeout: float | None = None) -> None:
        """Ask the signer to forget this client, and delete the session where it is kept.

        A courtesy, not a boundary (NIP-46): the session is deleted whatever the answer.
        """
        try:
            await self._call(Method.LOGOUT, (), PROBE_TIMEOUT if timeout is None else timeout)
        finally:
            if self._on_logout:
                self._on_logout()

    def watch_relays(self) -> None:
        """Ask for the signer's relays now and at intervals, as NIP-46 asks of a client.

        In the background: older signers do not know the method, and some do not even answer.
        """
        self._relay_checks = asyncio.create_task(self._watch_relays())

    async def relays_checked(self, timeout: float) -> None:
        """Wait until the signer was asked for its relays once, `timeout` seconds at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._relays_known.wait()

    async def _watch_relays(self) -> None:
        while True:
            with suppress(ClientError):
                await self.switch_relays(timeout=PROBE_TIMEOUT)
            self._relays_known.set()
            await asyncio.sleep(self._link.relay_check_interval)

    async def _scoped(
        self, method: Method, peer: str, kind: int, scope: str, text: str, timeout: float | None
    ) -> str:
        with client_errors():
            params = (parse_pubkey(peer), str(kind), scope, text)
        return await self._call(method, params, timeout)

    async def _crypt(self, method: Method, peer: str, text: str, timeout: float | None) -> str:
        """Ask for an encryption or decryption; raises InvalidRequest for what can't be one."""
        if (wrong := fault(method, text)) is not None:
            raise InvalidRequest(f"{method.value}: {wrong}")
        with client_errors():
            pubkey = parse_pubkey(peer)
        return await self._call(method, (pubkey, text), timeout)

    async def _call(self, method: Method, params: Iterable[str], timeout: float | None) -> str:
        patience = self._link.patience
        if timeout is not None:
            patience = Patience(timeout, timeout, patience.offline, timeout)
        return await self._link.call(method.value, params, patience)
