"""One key that is served: its two key pairs, and whether the owner has it unlocked."""

import asyncio
from enum import Enum
from typing import TYPE_CHECKING, Final

from bunker_core.bounds.recent import Recent
from bunker_core.event import Event, EventTemplate
from bunker_core.nips.channel import Channel
from bunker_core.nips.nip46 import Method
from bunker_signer.nse import NSE
from bunker_signer.policy import Action
from bunker_signer.process.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

CHANNELS: Final = 1024  # conversation keys kept; strangers push out strangers

log = get_logger(__name__)


class KeyState(Enum):
    """What the owner lets a key do."""

    UNLOCKED = "unlocked"
    LOCKED = "locked"  # requests wait for the unlock
    PAUSED = "paused"  # requests are answered with an error


class Identity:
    """The two key pairs of NIP-46 under one name: one carries the traffic, the other signs.

    The traffic's key stays open: without it nobody could be told that the user's is locked.
    `reopen` makes the user's NSE usable again after `lock`, or raises NSEError.
    """

    def __init__(
        self,
        name: str,
        transport: NSE,
        user: NSE,
        *,
        state: KeyState = KeyState.UNLOCKED,
        auto_lock: float | None = None,
        now: float = 0.0,
    ) -> None:
        """`auto_lock` is the idle time in seconds after which `lock_if_idle` locks."""
        self.name: Final = name
        self.transport: Final = transport
        self.user: Final = user
        self.auto_lock: Final = auto_lock
        self.remote_signer_pubkey: Final = transport.get_public_key()
        self.user_pubkey: Final = user.get_public_key()
        self._state = state
        self._used_at = now
        self._waiting = 0
        self._changed = asyncio.Event()
        self._channels: Recent[Channel] = Recent(CHANNELS)
        self.on_signed: Callable[[Event], None] = lambda _: None  # called in the way of a request

    @property
    def state(self) -> KeyState:
        return self._state

    @property
    def waiting(self) -> int:
        """How many requests wait for another state."""
        return self._waiting

    def set_state(self, state: KeyState, now: float) -> None:
        """Note a new state; who waits for it goes on."""
        self._used_at = now
        if state is not self._state:
            self._state = state
            self._changed.set()
            self._changed = asyncio.Event()

    def lock(self, now: float) -> None:
        """Wipe what opens the user key, until `set_state` follows an unlock of the NSE."""
        self.user.lock()
        self.set_state(KeyState.LOCKED, now)

    def idle_left(self, now: float) -> float | None:
        """Return the seconds until the key has been idle for too long; None if it never is."""
        if self.auto_lock is None or self._state is not KeyState.UNLOCKED:
            return None
        return max(0.0, self._used_at + self.auto_lock - now)

    async def wait_while(self, state: KeyState) -> None:
        """Return when the key is in another state."""
        self._waiting += 1
        try:
            while self._state is state:
                await self._changed.wait()
        finally:
            self._waiting -= 1

    def touch(self, now: float) -> None:
        """Note a use of the key."""
        self._used_at = now

    def sign(self, template: EventTemplate) -> Event:
        """Return `template` signed by the user key."""
        event = self.user.sign(template)
        self.on_signed(event)
        return event

    def crypt(self, action: Action, peer: str, text: str) -> str:
        """Encrypt or decrypt `text` between the user key and `peer`."""
        match action.method:
            case Method.NIP44_ENCRYPT:
                return self.user.nip44_encrypt(peer, text)
            case Method.NIP44_DECRYPT:
                return self.user.nip44_decrypt(peer, text)
            case Method.NIP04_ENCRYPT:
                return self.user.nip04_encrypt(peer, text)
            case Method.NIP04_DECRYPT:
                plaintext = self.user.nip04_decrypt(peer, text)
                if not plaintext:
                    # It hangs nostr-tools and applesauce, but it is the true one.
                    log.info("empty text decrypted", key=self.name)
                return plaintext
            case _:
                raise ValueError(action.method)

    def channel(self, pubkey: str) -> Channel:
        """Return the encrypted line to a client; raises NSEError for a pubkey that is none."""
        channel = self._channels.get(pubkey)
        if channel is None:
            key = self.transport.conversation_key(pubkey)
            channel = Channel(pubkey, key, self.transport.shared_x)
            self._channels.put(pubkey, channel)
        return channel

    def forget_channel(self, pubkey: str) -> None:
        """Drop the conversation key with a client that is gone."""
        self._channels.pop(pubkey)

    def close(self) -> None:
        """Wipe both keys."""
        self.transport.close()
        self.user.close()
