"""What goes into the NSE and comes out of it: events, facts about keys, names."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from bunker_core.errors import InvalidEvent
from bunker_core.event import Event, EventTemplate, parse_tags
from bunker_signer.nse.blob import Blob
from bunker_signer.nse.errors import NSEError, NSEErrorCode
from bunker_signer.nse.storage import NSEStorage, SwapStorage

BLOB_KEY: Final = "nse:blob"
BACKUP_KEY: Final = "nse:v1.bak"
DEFAULT_NAME: Final = "default"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

# The reference package's name for a signed event.
SignedEvent = Event


@dataclass(slots=True)
class NostrEvent:
    """What an app wants signed, as the reference package has it."""

    kind: int
    content: str
    tags: list[list[str]] = field(default_factory=list)
    created_at: int = 0


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What is known of a sealed key without opening it."""

    pubkey: str
    npub: str
    created_at: int
    hardware_backed: bool


def key_info(blob: Blob) -> KeyInfo:
    return KeyInfo(blob.pubkey, blob.npub, blob.created_at, blob.hardware_backed)


def template_of(event: NostrEvent | EventTemplate) -> EventTemplate:
    """Return `event` in its checked form; raises NSEError."""
    if isinstance(event, EventTemplate):
        return event
    try:
        return EventTemplate(event.kind, event.content, parse_tags(event.tags), event.created_at)
    except (InvalidEvent, AttributeError) as error:
        raise NSEError(f"not an event: {error}", NSEErrorCode.SIGN_FAILED) from None


def storage_key(name: str, prefix: str = BLOB_KEY) -> str:
    """Return where the key called `name` is stored; raises NSEError for a name that is none."""
    if not _NAME.fullmatch(name):
        raise NSEError(
            "a key's name is 1 to 64 letters, digits, dots, dashes or underscores",
            NSEErrorCode.STORAGE_ERROR,
        )
    return prefix if name == DEFAULT_NAME and prefix == BLOB_KEY else f"{prefix}:{name}"


def key_names(storage: NSEStorage) -> list[str]:
    """Return the names of the keys in `storage`, sorted; raises NSEError if it can't tell."""
    if not isinstance(storage, SwapStorage):
        raise NSEError("this storage can't list its keys", NSEErrorCode.STORAGE_ERROR)
    return sorted(_names(storage.keys()))


def _names(keys: Iterable[str]) -> Iterable[str]:
    for key in keys:
        if key == BLOB_KEY:
            yield DEFAULT_NAME
        elif key.startswith(f"{BLOB_KEY}:"):
            yield key.removeprefix(f"{BLOB_KEY}:")
