"""The remote signer without asyncio: the same names, on an event loop in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, Self, TypeVar, Unpack

from bunker_client.errors import ConnectionEnded
from bunker_client.keys.uri_keys import URIKeys
from bunker_client.remote_signer import RemoteSigner
from bunker_client.request.options import Options
from bunker_client.request.session import Session
from bunker_core.event import EventTemplate, VerifiedEvent
from bunker_core.keys import SecretKey
from bunker_core.nips.bunker_uri import BunkerURI
from bunker_core.nips.nip46 import ClientMetadata, Permission
from bunker_core.signer import Signer, SyncSigner

T = TypeVar("T")
S = TypeVar("S", bound=Signer)


class SyncOf(SyncSigner, Generic[S]):
    """Any asyncio `Signer` as a `SyncSigner`; a context manager, safe to share between threads.

    Callbacks of the signer (`on_auth_url`, `on_progress`) are called on the signer's thread.
    """

    def __init__(self, signer: AbstractAsyncContextManager[S]) -> None:
        self._opening = signer
        self._signer: S | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="bunker", daemon=True)
        self._thread.start()
        try:
            self._signer = self._run(self._opening.__aenter__())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._run(_leave(self._opening))
        finally:
            self._signer = None
            self._stop()

    def get_public_key(self) -> str:
        return self._call(lambda signer: signer.get_public_key())

    def sign_event(self, event: EventTemplate | Mapping[str, Any]) -> VerifiedEvent:
        return self._call(lambda signer: signer.sign_event(event))

    # The name that guides use.
    request_signature = sign_event

    def nip44_encrypt(self, peer: str, plaintext: str) -> str:
        return self._call(lambda signer: signer.nip44_encrypt(peer, plaintext))

    def nip44_decrypt(self, peer: str, payload: str) -> str:
        return self._call(lambda signer: signer.nip44_decrypt(peer, payload))

    def nip04_encrypt(self, peer: str, plaintext: str) -> str:
        return self._call(lambda signer: signer.nip04_encrypt(peer, plaintext))

    def nip04_decrypt(self, peer: str, payload: str) -> str:
        return self._call(lambda signer: signer.nip04_decrypt(peer, payload))

    def _call(self, method: Callable[[S], Coroutine[Any, Any, T]]) -> T:
        if self._signer is None:
            raise ConnectionEnded("not connected: use the signer in a `with` block")
        return self._run(method(self._signer))

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self._loop is None:
            coroutine.close()
            raise ConnectionEnded("not connected: use the signer in a `with` block")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:  # Ctrl-C in the caller's thread ends the request too
            future.cancel()
            raise

    def _stop(self) -> None:
        if self._loop and self._thread:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        self._loop = self._thread = None


class SyncRemoteSigner(SyncOf[RemoteSigner]):
    """`RemoteSigner` without asyncio."""

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
        """As `RemoteSigner.from_uri`."""
        return cls(
            RemoteSigner.from_uri(
                uri,
                client_key=client_key,
                uri_keys=uri_keys,
                permissions=permissions,
                metadata=metadata,
                **options,
            )
        )

    @classmethod
    def from_session(
        cls,
        session: Session,
        *,
        on_logout: Callable[[], None] | None = None,
        on_moved: Callable[[Session], None] | None = None,
        **options: Unpack[Options],
    ) -> Self:
        """As `RemoteSigner.from_session`."""
        return cls(
            RemoteSigner.from_session(session, on_logout=on_logout, on_moved=on_moved, **options)
        )

    @property
    def user_pubkey(self) -> str:
        """The key that signs."""
        return self._connected.user_pubkey

    @property
    def relays(self) -> tuple[str, ...]:
        """The relays in use."""
        return self._connected.relays

    @property
    def session(self) -> Session:
        """What to keep in order to come back without a new pairing."""
        return self._connected.session

    def get_public_key(self, *, timeout: float | None = None) -> str:
        return self._call(lambda signer: signer.get_public_key(timeout=timeout))

    def sign_event(
        self, event: EventTemplate | Mapping[str, Any], *, timeout: float | None = None
    ) -> VerifiedEvent:
        return self._call(lambda signer: signer.sign_event(event, timeout=timeout))

    request_signature = sign_event

    def nip44_encrypt(self, peer: str, plaintext: str, *, timeout: float | None = None) -> str:
        return self._call(lambda signer: signer.nip44_encrypt(peer, plaintext, timeout=timeout))

    def nip44_decrypt(self, peer: str, payload: str, *, timeout: float | None = None) -> str:
        return self._call(lambda signer: signer.nip44_decrypt(peer, payload, timeout=timeout))

    def nip04_encrypt(self, peer: str, plaintext: str, *, timeout: float | None = None) -> str:
        return self._call(lambda signer: signer.nip04_encrypt(peer, plaintext, timeout=timeout))

    def nip04_decrypt(self, peer: str, payload: str, *, timeout: float | None = None) -> str:
        return self._call(lambda signer: signer.nip04_decrypt(peer, payload, timeout=timeout))

    def nip44v3_encrypt(
        self, peer: str, plaintext: bytes, kind: int, scope: str, *, timeout: float | None = None
    ) -> str:
        """As `RemoteSigner.nip44v3_encrypt`."""
        return self._call(
            lambda signer: signer.nip44v3_encrypt(peer, plaintext, kind, scope, timeout=timeout)
        )

    def nip44v3_decrypt(
        self, peer: str, payload: str, kind: int, scope: str, *, timeout: float | None = None
    ) -> bytes:
        """As `RemoteSigner.nip44v3_decrypt`."""
        return self._call(
            lambda signer: signer.nip44v3_decrypt(peer, payload, kind, scope, timeout=timeout)
        )

    def ping(self, *, timeout: float | None = None) -> None:
        """Return when the signer answers."""
        self._call(lambda signer: signer.ping(timeout=timeout))

    def switch_relays(self, *, timeout: float | None = None) -> tuple[str, ...]:
        """Ask where the signer wants to be reached, move there, return the relays in use."""
        return self._call(lambda signer: signer.switch_relays(timeout=timeout))

    def logout(self, *, timeout: float | None = None) -> None:
        """Ask the signer to forget this client, and delete the session where it is kept."""
        self._call(lambda signer: signer.logout(timeout=timeout))

    @property
    def _connected(self) -> RemoteSigner:
        if self._signer is None:
            raise ConnectionEnded("not connected: use the signer in a `with` block")
        return self._signer


async def _leave(signer: AbstractAsyncContextManager[Any]) -> None:
    await signer.__aexit__(None, None, None)
