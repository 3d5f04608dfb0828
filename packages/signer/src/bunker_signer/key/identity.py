"""One key that is served: its two key pairs, and the access to the user's."""

from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Final

from bunker_core.bounds.recent import Recent
from bunker_core.event import Event, EventTemplate
from bunker_core.nips.channel import Channel
from bunker_core.nips.nip46 import Method
from bunker_signer.key.access import Access, KeyState
from bunker_signer.nse import NSE
from bunker_signer.policy import Action
from bunker_signer.process.logs import get_logger

CHANNELS: Final = 1024  # conversation keys kept; strangers push out strangers

log = get_logger(__name__)


class Identity:
    """The two key pairs of NIP-46 under one name: one carries the traffic, the other signs.

    The traffic's key is never locked: without it nobody could be told that the user's is. In a
    running signer it stays in the locked page (`NSE.keep_open`).
    `access` is the owner of whether the user's may be used.
    """

    on_signed: Callable[[Event], None]  # called in the way of a request

    def __init__(self, name: str, transport: NSE, user: NSE, access: Access) -> None:
        self.name: Final = name
        self.transport: Final = transport
        self.user: Final = user
        self.access: Final = access
        self.remote_signer_pubkey: Final = transport.get_public_key()
        self.user_pubkey: Final = user.get_public_key()
        self._channels: Recent[Channel] = Recent(CHANNELS)
        self.on_signed = lambda _: None

    @property
    def state(self) -> KeyState:
        """Whether the user key may be used."""
        return self.access.state

    @property
    def waiting(self) -> int:
        """How many requests wait for another state."""
        return self.access.waiting

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
            case Method.NIP44V3_ENCRYPT:
                kind, scope = action.context or (0, "")
                return self.user.nip44v3_encrypt(peer, b64decode(text), kind, scope)
            case Method.NIP44V3_DECRYPT:
                kind, scope = action.context or (0, "")
                return b64encode(self.user.nip44v3_decrypt(peer, text, kind, scope)).decode()
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
        """Return the encrypted channel to a client; raises NSEError for a pubkey that is none."""
        channel = self._channels.get(pubkey)
        if channel is None:
            key = self.transport.conversation_key(pubkey)
            channel = Channel(pubkey, key, self.transport.shared_x)
            self._channels.put(pubkey, channel)
        return channel

    def forget_channel(self, pubkey: str) -> None:
        """Drop the conversation key with a client that is gone."""
        self._channels.pop(pubkey)

    def forget_channels(self) -> None:
        """Drop all conversation keys."""
        self._channels = Recent(CHANNELS)

    def close(self) -> None:
        """Wipe both keys."""
        self.transport.close()
        self.user.close()
