"""The remote signer as its answers show it, and the encryption that they come in."""

from typing import Final

from bunker_core.event import VerifiedEvent
from bunker_core.keys import SecretKey
from bunker_core.nips import nip44
from bunker_core.nips.channel import Channel
from bunker_core.nips.nip46 import Method, Request, Response, parse_message

_STATES: Final = frozenset({"locked", "paused"})  # what a ping that asks for it may be answered
# What no signer leaves unanswered.
_ALWAYS_ANSWERED: Final = (Method.CONNECT, Method.GET_PUBLIC_KEY, Method.SIGN_EVENT)
# Who writes to an invitation is not known before it is read: so many are remembered.
_STRANGERS: Final = 16


class Remote:
    """What is known of the signer at the other end; `pubkey` is None while nobody has come yet."""

    def __init__(self, key: SecretKey, pubkey: str | None) -> None:
        """`key` is the client's."""
        self.pubkey = pubkey
        self.heard_at: float | None = None  # when what it answered last was sent, by the loop
        self.answers_pings = False
        self.locked = False
        self._key = key
        self._channels: dict[str, Channel] = {}
        self._answered = {method.value for method in _ALWAYS_ANSWERED}

    def knows(self, method: str) -> bool:
        """Tell whether the signer is known to answer a method at all."""
        return method in self._answered

    def heard(self, method: str, sent_at: float) -> None:
        """Note that it answered a request of `method` that was sent at `sent_at`."""
        self.heard_at = max(self.heard_at or 0.0, sent_at)
        if method != Method.PING.value:
            self._answered.add(method)

    def said_state(self, result: str) -> None:
        """Take the answer to a ping that asked for its state."""
        self.locked = result in _STATES

    def seal(self, request: Request) -> tuple[str, str]:
        """Return its pubkey and the encrypted request."""
        if self.pubkey is None:
            raise RuntimeError("no remote signer yet")
        return self.pubkey, self._channel(self.pubkey).seal(request.to_json())

    def open(self, event: VerifiedEvent) -> Request | Response:
        """Return what an event holds, whoever wrote it; raises BunkerError."""
        text, _ = self._channel(event.pubkey).open(event.content)
        return parse_message(text)

    def _channel(self, peer: str) -> Channel:
        channel = self._channels.get(peer)
        if channel is None:
            if len(self._channels) > _STRANGERS:
                self._channels.clear()
            conversation_key = nip44.conversation_key(self._key.shared_x(peer))
            channel = Channel(peer, conversation_key, self._key.shared_x)
            self._channels[peer] = channel
        return channel
