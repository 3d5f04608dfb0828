"""What an owner can set, with the values that a relay for remote signing wants."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers that bound one client. Those that NIP-11 has a name for are published in it."""

    max_message_bytes: int = 262_144  # a NIP-44 payload of 65,535 bytes is 88 KB of event
    max_subscriptions: int = 200
    max_filters: int = 20
    max_filter_values: int = 2_000
    max_limit: int = 5_000
    default_limit: int = 500
    max_event_tags: int = 5_000
    max_content_length: int = 253_952  # characters; with its envelope it fits max_message_bytes
    created_at_lower_limit: int = 0  # seconds into the past; 0 means any age
    created_at_upper_limit: int = 900  # seconds into the future; signers' clocks run fast too
    max_auth_pubkeys: int = 16
    max_outbox_bytes: int = 4_194_304
    max_pending_saves: int = 256


@dataclass(frozen=True, slots=True)
class Config:
    """One relay's settings."""

    host: str = "127.0.0.1"
    port: int = 7777
    data: Path = Path("relay-data")
    name: str = "nostr-bunker relay"
    description: str = "A relay for remote signing. It forwards signing requests and keeps none."
    url: str | None = None  # the public address, e.g. wss://relay.example.com
    limits: Limits = field(default_factory=Limits)
    ping_interval: float = 25.0  # seconds; under the 60 s after which nginx drops silence
    ping_timeout: float = 20.0
