"""Every error that this package raises on purpose.

    BunkerError
    ├── InvalidInput          untrusted input that is not what a NIP asks for
    │   ├── InvalidKey        private or public key outside of the curve's range
    │   ├── InvalidEvent      NIP-01 event: shape, id or signature
    │   ├── InvalidFilter     NIP-01 filter
    │   │   └── UnsupportedFilter   well-formed, but of a NIP that is not spoken here
    │   ├── InvalidMessage    NIP-01 message between client and relay
    │   ├── InvalidAuth       NIP-42 authentication event
    │   ├── InvalidEntity     NIP-19 bech32 entity
    │   ├── InvalidURI        bunker://, nostrconnect:// or relay URL
    │   └── InvalidRPC        NIP-46 request or response
    ├── CryptoError           encryption or decryption failed; never says why
    └── PoolError             a relay connection (see bunker_core.pool)

The other packages derive theirs from the root. Untrusted input raises only these. No message
carries a key, a plaintext or a content.
"""

from typing import Any


class BunkerError(Exception):
    """Root of the tree."""


class InvalidInput(BunkerError, ValueError):
    """Untrusted input that is not what the protocol asks for."""


class InvalidKey(InvalidInput):
    """A private or public key outside of secp256k1's range."""


class InvalidEvent(InvalidInput):
    """An event whose shape, id or signature is wrong (NIP-01)."""


class InvalidFilter(InvalidInput):
    """A filter that is not one (NIP-01)."""


class UnsupportedFilter(InvalidFilter):
    """A well-formed filter with an element of a NIP that is not spoken here."""


class InvalidMessage(InvalidInput):
    """A message that is not one of NIP-01, 42 or 45.

    `event_id` or `subscription_id` is set when the reply can name what it refuses (`OK` or
    `CLOSED` rather than `NOTICE`); `reason` has the machine-readable prefix in front.
    """

    def __init__(
        self,
        reason: str,
        *,
        event_id: str | None = None,
        subscription_id: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.event_id = event_id
        self.subscription_id = subscription_id


class InvalidAuth(InvalidInput):
    """An event that does not authenticate its author (NIP-42)."""


class InvalidEntity(InvalidInput):
    """A bech32 string that is not a NIP-19 entity."""


class InvalidURI(InvalidInput):
    """A bunker://, nostrconnect:// or relay URL that can't be used (NIP-46)."""


class InvalidRPC(InvalidInput):
    """A NIP-46 request or response that can't be read.

    `answerable` says that it was a request and `request_id` is its id, of whatever JSON type, so
    that an error can be answered to it.
    """

    def __init__(
        self,
        reason: str,
        *,
        request_id: Any = None,
        answerable: bool = False,
    ) -> None:
        super().__init__(reason)
        self.request_id = request_id
        self.answerable = answerable


class CryptoError(BunkerError):
    """Decryption or encryption failed. One message for all causes: no oracle."""

    def __init__(self) -> None:
        super().__init__("encryption or decryption failed")


class PoolError(BunkerError):
    """A relay could not be reached or did not answer."""
