"""What an owner can set, with the values that a relay for remote signing wants.

`load` reads it from a file, variables and flags.
"""

import ipaddress
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from bunker_core.errors import InvalidEntity, InvalidURI
from bunker_core.nips.nip19 import parse_pubkey
from bunker_core.nips.relay_url import parse_relay_url

ENV_PREFIX: Final = "BUNKER_RELAY_"
_HIDDEN: Final = "***"  # a password, where the configuration is printed


class Profile(StrEnum):
    """A relay's purpose in one word."""

    OPEN = "open"  # NIP-01 for everyone
    PRIVATE = "private"  # signing for `signers`, other kinds from allowed pubkeys alone
    BUNKER = "bunker"  # signing alone, and no database


class Mute(StrEnum):
    """How an ephemeral event is answered that nobody listens to."""

    ACCEPT = "accept"  # OK true, `mute:`
    REJECT = "reject"  # OK false, `mute:`; some clients then give up at once


class LogFormat(StrEnum):
    """How log lines look."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The least important line that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _pubkey(text: str) -> str:
    try:
        return parse_pubkey(text)
    except InvalidEntity as error:
        raise ValueError(f"{error}; give an npub or 64 hex characters") from None


def _relay_url(text: str) -> str:
    try:
        return parse_relay_url(text)
    except InvalidURI as error:
        raise ValueError(str(error)) from None


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError("not an IP address or network") from None


def _nats_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("nats", "tls") or not parts.hostname:
        raise ValueError("not a nats:// or tls:// address")
    if parts.username or parts.password:
        raise ValueError(
            "set nats.user and nats.password_file instead of a password in the address"
        )
    return text


def _split(value: Any) -> Any:
    """Read a list from a variable, where it is written with commas; TOML has its own."""
    if isinstance(value, str):
        return [item.strip() for item in value.split(",") if item.strip()]
    return value


def _database(text: str) -> str:
    if urlsplit(text).scheme != "postgresql":
        raise ValueError("not a postgresql:// URL; leave it out for a file in the data directory")
    if _HIDDEN in text:
        raise ValueError(f"{_HIDDEN} stands for a password that was not shown; write it out")
    return text


def has_password(url: str) -> bool:
    """Tell whether a database URL holds a password, in either of its two places."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False  # not a URL, which the configuration refuses
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return parts.password is not None or "password" in query


def _hide_password(url: str | None) -> str | None:
    if url is None or not has_password(url):
        return url
    parts = urlsplit(url)
    user, address = parts.username or "", parts.netloc.rpartition("@")[2]
    if parts.password is not None:
        parts = parts._replace(netloc=f"{user}:{_HIDDEN}@{address}")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if "password" in query:
        query["password"] = _HIDDEN
    return parts._replace(query=urlencode(query, safe="*/")).geturl()


Pubkey = Annotated[str, AfterValidator(_pubkey)]
RelayURL = Annotated[str, AfterValidator(_relay_url)]
Network = Annotated[str, AfterValidator(_network)]
NatsURL = Annotated[str, AfterValidator(_nats_url)]
DatabaseURL = Annotated[
    str, AfterValidator(_database), PlainSerializer(_hide_password, when_used="json")
]
Seconds = Annotated[int, Field(ge=0, le=10**10)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Section):
    """Numbers that bound one client; those that NIP-11 has a name for are published in it."""

    max_message_bytes: int = Field(default=262_144, ge=1_024, le=16_777_216)
    # With a kind 24133: a follow list of 5,000 is 560 KB on its way to the signer, and back.
    max_signing_bytes: int = Field(default=1_048_576, ge=1_024, le=16_777_216)
    max_subscriptions: int = Field(default=200, ge=1, le=10_000)
    max_filters: int = Field(default=20, ge=1, le=1_000)
    max_filter_values: int = Field(default=2_000, ge=1, le=100_000)
    # What the filters of one connection may take in memory, three times as much those of one
    # address, and 32 times all of them; a tenth of it with profile bunker. A value takes 0.6 KB.
    max_subscription_bytes: int = Field(default=8_388_608, ge=65_536, le=1_073_741_824)
    max_limit: int = Field(default=5_000, ge=1, le=100_000)
    default_limit: int = Field(default=500, ge=1, le=100_000)
    max_event_tags: int = Field(default=5_000, ge=1, le=100_000)
    max_content_length: int = Field(default=253_952, ge=1, le=16_777_216)  # characters
    min_pow_difficulty: int = Field(
        default=0, ge=0, le=256
    )  # NIP-13, bits; never asked of kind 24133
    created_at_lower_limit: Seconds = 0  # into the past; 0: any age
    created_at_upper_limit: Seconds = 900  # into the future; phones' clocks run fast too
    max_auth_pubkeys: int = Field(default=16, ge=1, le=1_000)
    max_outbox_bytes: int = Field(default=4_194_304, ge=4_096, le=1_073_741_824)
    max_pending_saves: int = Field(default=256, ge=1, le=10_000)
    max_offences: int = Field(default=20, ge=1, le=100_000)  # unreadable messages a minute
    max_connections: int = Field(default=10_000, ge=1, le=1_000_000)
    max_connections_per_ip: int = Field(default=200, ge=1, le=1_000_000)

    @property
    def max_frame_bytes(self) -> int:
        """What is read at all; a larger message ends the connection."""
        return max(self.max_message_bytes, self.max_signing_bytes)

    @model_validator(mode="after")
    def _check_sizes(self) -> "Limits":
        if self.max_outbox_bytes < 4 * self.max_frame_bytes:
            raise ValueError(
                "limits.max_outbox_bytes must be at least four times limits.max_message_bytes and"
                " limits.max_signing_bytes"
            )
        if self.default_limit > self.max_limit:
            raise ValueError("limits.default_limit must not be over limits.max_limit")
        return self


class Rate(_Section):
    """A token bucket: `burst` at once, then `per_second`."""

    per_second: float = Field(gt=0, le=1_000_000)
    burst: int = Field(ge=1, le=1_000_000)


class Rates(_Section):
    """How fast one IP address (an IPv6 /64) or one pubkey may go on."""

    events_per_ip: Rate = Rate(per_second=50, burst=1_000)
    events_per_pubkey: Rate = Rate(per_second=20, burst=500)
    # Their own, generous: a client that opens its messages asks for 500 decryptions at once.
    signing_per_ip: Rate = Rate(per_second=500, burst=5_000)
    signing_per_pubkey: Rate = Rate(per_second=100, burst=1_000)
    # What goes to one of `signers` from keys that it has never answered; without `signers` ten
    # times as much, from keys that have not heard from whom they write to.
    strangers_per_ip: Rate = Rate(per_second=10, burst=300)
    queries_per_ip: Rate = Rate(per_second=50, burst=1_000)
    connections_per_ip: Rate = Rate(per_second=10, burst=500)


class Grace(_Section):
    """Hold a signing request in memory for a signer that is just waking up; off at 0 seconds."""

    seconds: int = Field(default=0, ge=0, le=300)
    max_bytes: int = Field(default=8_388_608, ge=1_024, le=1_073_741_824)


class PushSettings(_Section):
    """Wake a signer that sleeps in a browser, by Web Push; what it is asked waits in `grace`."""

    enabled: bool = False
    # What push services are told of the owner (RFC 8292): Apple's refuses a push without one.
    contact: str | None = Field(default=None, pattern=r"^(mailto:[^\s@]+@[^\s@]+|https://\S+)$")
    private_endpoints: bool = False  # also push services within a network, and without TLS


class StoreSettings(_Section):
    """The database."""

    query_timeout: float = Field(default=5.0, gt=0, le=300)  # seconds
    busy_timeout: float = Field(default=5.0, gt=0, le=300)  # that a write waits for a lock
    keep_days: int = Field(default=0, ge=0, le=36_500)  # older events are deleted; 0 keeps all


class Metrics(_Section):
    """Prometheus, on its own port; off without one."""

    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=0, le=65_535)


class NatsSettings(_Section):
    """The bus between several hosts that are one relay; off without a server."""

    servers: Annotated[tuple[NatsURL, ...], BeforeValidator(_split)] = ()
    user: str | None = None
    # With one, what comes from the bus is believed; without, each signature is checked again.
    password_file: Path | None = None
    prefix: str = Field(default="bunker-relay", pattern=r"^[A-Za-z0-9_-]{1,64}$")

    @model_validator(mode="after")
    def _check_user(self) -> "NatsSettings":
        if (self.user is None) != (self.password_file is None):
            raise ValueError("nats.user and nats.password_file are set together")
        return self


class Log(_Section):
    """Where the relay tells what it does: standard error."""

    format: LogFormat = LogFormat.CONSOLE
    level: LogLevel = LogLevel.INFO


class Config(_Section):
    """One relay's settings."""

    host: str = "127.0.0.1"
    port: int = Field(default=7777, ge=0, le=65_535)
    data: Path = Path("relay-data")
    workers: int = Field(default=1, ge=1, le=64)  # processes; one for each core at most
    # PostgreSQL instead of a file in `data`. Not in a repr: it may hold a password.
    database: DatabaseURL | None = Field(default=None, repr=False)
    profile: Profile = Profile.OPEN
    signers: Annotated[tuple[Pubkey, ...], BeforeValidator(_split)] = ()
    allow: Annotated[tuple[Pubkey, ...], BeforeValidator(_split)] = ()
    owner: Pubkey | None = None  # may publish, and can't be banned; administers nothing
    admin: Pubkey | None = None  # may call NIP-86, which is off without one
    # Public addresses, one or several; each may have a path, which is served too.
    url: Annotated[tuple[RelayURL, ...], BeforeValidator(_split)] = ()
    mute: Mute = Mute.ACCEPT
    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(_split)] = ()
    name: str = Field(default="nostr-bunker relay", max_length=100)
    description: str = "A relay for remote signing: it forwards signing requests and keeps none."
    contact: str | None = None
    icon: str | None = None
    plain: bool = False  # ASGI alone, without the fast path; bound at the start
    ping_interval: float = Field(default=25.0, gt=0, le=30)  # seconds; nginx drops silence after 60
    ping_timeout: float = Field(default=20.0, gt=0, le=300)
    shutdown_timeout: float = Field(default=5.0, gt=0, le=300)
    limits: Limits = Limits()
    # Messages (kinds 4, 13, 1059 and 21059) are shown to their authenticated parties alone.
    guard_messages: bool = True
    # With profile private: take messages from strangers to those who may publish here.
    inbox: bool = False
    rates: Rates = Rates()
    grace: Grace = Grace()
    push: PushSettings = PushSettings()
    store: StoreSettings = StoreSettings()
    metrics: Metrics = Metrics()
    nats: NatsSettings = NatsSettings()
    log: Log = Log()

    @property
    def gated(self) -> bool:
        """Whether kind 24133 is for `signers` and their clients alone."""
        return bool(self.signers)

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths at which the relay is found."""
        return _paths(self.url)

    @property
    def protected(self) -> dict[str, str]:
        """The pubkeys that can't be banned, and what each is to the relay."""
        found = dict.fromkeys(self.signers, "a signer of this relay")
        for pubkey, word in ((self.owner, "this relay's owner"), (self.admin, "its admin")):
            if pubkey is not None:
                found[pubkey] = word
        return found

    @model_validator(mode="after")
    def _check_admin(self) -> "Config":
        if self.admin is not None and self.admin in (self.owner, *self.signers):
            raise ValueError(
                "admin has to be a key of its own: apps get signatures of the owner's, and one of"
                " them would do to administer the relay"
            )
        return self

    @model_validator(mode="after")
    def _check_profile(self) -> "Config":
        if self.profile is Profile.PRIVATE and not self.signers:
            raise ValueError("profile private needs a signer: set signers, or pass --signer NPUB")
        if self.push.enabled and not (self.signers and self.grace.seconds):
            raise ValueError(
                "push.enabled needs signers, who may be woken, and grace.seconds, for what they are"
                " asked has to wait for them; 30 is a good value"
            )
        return self


@lru_cache(maxsize=4)  # every connection asks
def _paths(urls: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({"/", *(urlsplit(url).path or "/" for url in urls)}))
