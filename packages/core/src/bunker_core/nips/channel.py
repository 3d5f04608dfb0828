"""The encrypted channel between a client and a remote signer: kind 24133 (NIP-46)."""

from collections.abc import Callable
from enum import Enum

from bunker_core.event import EventTemplate
from bunker_core.kinds import NOSTR_CONNECT
from bunker_core.nips import nip04, nip44


class Scheme(Enum):
    """How a message is encrypted. A reply uses the scheme of its request."""

    NIP44 = "nip44"
    NIP04 = "nip04"


class Channel:
    """Encrypts and decrypts between two transport keys.

    Holds the conversation key, which may stay in memory, and asks `shared_x` for the bare ECDH x
    only when an old client speaks NIP-04.
    """

    __slots__ = ("_conversation_key", "_shared_x", "peer")

    def __init__(
        self, peer: str, conversation_key: bytes, shared_x: Callable[[str], bytes]
    ) -> None:
        self.peer = peer
        self._conversation_key = conversation_key
        self._shared_x = shared_x

    def seal(self, text: str, scheme: Scheme = Scheme.NIP44) -> str:
        """Return `text` encrypted; raises CryptoError."""
        if scheme is Scheme.NIP04:
            return nip04.encrypt(text, self._shared_x(self.peer))
        return nip44.encrypt(text, self._conversation_key)

    def open(self, content: str) -> tuple[str, Scheme]:
        """Return the text in `content` and how it was encrypted; raises CryptoError."""
        if nip04.is_payload(content):
            return nip04.decrypt(content, self._shared_x(self.peer)), Scheme.NIP04
        return nip44.decrypt(content, self._conversation_key), Scheme.NIP44


def rpc_template(content: str, recipient: str, created_at: int) -> EventTemplate:
    """Return the event that carries `content` to `recipient`.

    The p tag is the only way it is delivered: everyone subscribes by it.
    """
    return EventTemplate(
        kind=NOSTR_CONNECT, content=content, tags=(("p", recipient),), created_at=created_at
    )
