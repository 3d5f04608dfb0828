"""Kinds and what a relay does with them (NIP-01)."""

from enum import Enum
from typing import Final

METADATA: Final = 0
DELETION: Final = 5  # NIP-09
VANISH: Final = 62  # NIP-62
CLIENT_AUTH: Final = 22242  # NIP-42
NOSTR_CONNECT: Final = 24133  # NIP-46
HTTP_AUTH: Final = 27235  # NIP-98

# What is for its author and those in its p tags: NIP-04, the seals and wraps of NIP-59.
MESSAGES: Final = frozenset({4, 13, 1059, 21059})
GIFT_WRAP: Final = 1059  # NIP-59: its author's key is thrown away, the recipient may delete it

MAX_KIND: Final = 65535


class Storage(Enum):
    """How a relay keeps an event of a kind."""

    REGULAR = "regular"
    REPLACEABLE = "replaceable"  # the latest for pubkey and kind
    EPHEMERAL = "ephemeral"  # never stored
    ADDRESSABLE = "addressable"  # the latest for pubkey, kind and d tag


def storage(kind: int) -> Storage:
    """Return how a relay keeps events of `kind`; kinds that NIP-01 leaves out count as regular."""
    if 20000 <= kind < 30000:
        return Storage.EPHEMERAL
    if kind in (0, 3) or 10000 <= kind < 20000:
        return Storage.REPLACEABLE
    if 30000 <= kind < 40000:
        return Storage.ADDRESSABLE
    return Storage.REGULAR


def is_ephemeral(kind: int) -> bool:
    """Tell whether `kind` is forwarded but never stored."""
    return 20000 <= kind < 30000
