"""A paired client for tests that have no event loop."""

from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from bunker.testbed.thread import TIMEOUT, LoopThread
from bunker_client import RemoteSigner
from bunker_core.event import EventTemplate, VerifiedEvent
from bunker_core.keys import SecretKey

_T = TypeVar("_T")


class Client:
    """The methods of RemoteSigner, each blocking until it is answered.

    All raise a ClientError; `timeout` is seconds, that of the client unless given.
    """

    def __init__(self, thread: LoopThread, uri: str, *, timeout: float = 10.0) -> None:
        """Pair by a bunker:// URI."""
        self._thread = thread
        self._timeout = timeout
        self.auth_urls: list[str] = []  # where the signer sent its user, in order
        self._key = SecretKey.generate()
        self._signer = RemoteSigner.from_uri(
            uri, client_key=self._key, timeout=timeout, on_auth_url=self.auth_urls.append
        )
        self._wait(self._signer.__aenter__())
        # Asked in the background: its answer is not the one that a test's first fault is for.
        self._wait(self._signer.relays_checked(timeout))

    @property
    def client_pubkey(self) -> str:
        """The key that this client is known by to the signer."""
        return self._key.pubkey

    @property
    def user_pubkey(self) -> str:
        """The key that signs."""
        return self._signer.user_pubkey

    def request_signature(
        self, event: EventTemplate | Mapping[str, Any], *, timeout: float | None = None
    ) -> VerifiedEvent:
        """Return `event` signed by the user."""
        return self._wait(self._signer.sign_event(event, timeout=timeout), timeout)

    def nip44_encrypt(self, peer: str, plaintext: str, *, timeout: float | None = None) -> str:
        """Return `plaintext` encrypted by the user to `peer`."""
        return self._wait(self._signer.nip44_encrypt(peer, plaintext, timeout=timeout), timeout)

    def nip44_decrypt(self, peer: str, payload: str, *, timeout: float | None = None) -> str:
        """Return the plaintext of a payload between `peer` and the user."""
        return self._wait(self._signer.nip44_decrypt(peer, payload, timeout=timeout), timeout)

    def nip04_encrypt(self, peer: str, plaintext: str, *, timeout: float | None = None) -> str:
        """Return `plaintext` encrypted by the user to `peer`, the old way."""
        return self._wait(self._signer.nip04_encrypt(peer, plaintext, timeout=timeout), timeout)

    def nip04_decrypt(self, peer: str, payload: str, *, timeout: float | None = None) -> str:
        """Return the plaintext of an old payload between `peer` and the user."""
        return self._wait(self._signer.nip04_decrypt(peer, payload, timeout=timeout), timeout)

    def ping(self, *, timeout: float | None = None) -> None:
        """Return when the signer answers."""
        self._wait(self._signer.ping(timeout=timeout), timeout)

    def logout(self, *, timeout: float | None = None) -> None:
        """Ask the signer to forget this client."""
        self._wait(self._signer.logout(timeout=timeout), timeout)

    def close(self) -> None:
        """Leave the relays."""
        self._wait(self._signer.__aexit__(None, None, None))

    def _wait(self, call: Coroutine[Any, Any, _T], timeout: float | None = None) -> _T:
        # The call has its own deadline, which says what it waited for; ours is behind it.
        own = self._timeout if timeout is None else timeout
        # Behind an auth_url a person is waited for.
        return self._thread.run(call, own + 10 * TIMEOUT)
