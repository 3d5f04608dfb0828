"""What an owner can set, with the values that a relay for remote signing wants.

`load` reads it from a file, variables and flags.
"""

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from bunker_core.errors import InvalidEntity, InvalidURI
from bunker_core.nips.nip19 import parse_pubkey
from bunker_core.nips.relay_url import parse_relay_url
from bunker_relay.config.section import Allowed, Section, Text, setting

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


def _host(text: str) -> str:
    if not text:  # a variable that was meant to have a value; a socket would take every address
        raise ValueError("empty: 127.0.0.1 is this machine alone, 0.0.0.0 every address")
    return text


def _nats_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("nats", "tls") or not parts.hostname:
        raise ValueError("not a nats:// or tls:// address")
    if parts.username or parts.password:
        raise ValueError(
            "set nats.user and nats.password_file instead of a password in the address"
        )
    return text


def _prefix(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        raise ValueError("not 1 to 64 of A-Z, a-z, 0-9, _ and -")
    return text


def _push_contact(text: str) -> str:
    if not re.fullmatch(r"mailto:[^\s@]+@[^\s@]+|https://\S+", text):
        raise ValueError("neither mailto:somebody@example.com nor an https:// address")
    return text


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


def _hide_password(url: str) -> str:
    if not has_password(url):
        return url
    parts = urlsplit(url)
    user, address = parts.username or "", parts.netloc.rpartition("@")[2]
    if parts.password is not None:
        parts = parts._replace(netloc=f"{user}:{_HIDDEN}@{address}")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if "password" in query:
        query["password"] = _HIDDEN
    return parts._replace(query=urlencode(query, safe="*/")).geturl()


Pubkey = Annotated[str, Text(_pubkey)]
Host = Annotated[str, Text(_host)]
RelayURL = Annotated[str, Text(_relay_url)]
Network = Annotated[str, Text(_network)]
NatsURL = Annotated[str, Text(_nats_url)]
DatabaseURL = Annotated[str, Text(_database, _hide_password)]
Seconds = Annotated[int, Allowed(ge=0, le=10**10)]


@dataclass(frozen=True, kw_only=True)
class Limits(Section):
    """Numbers that bound one client; those that NIP-11 has a name for are published in it."""

    max_message_bytes: int = setting(262_144, ge=1_024, le=16_777_216)
    # With a kind 24133: a follow list of 5,000 is 560 KB on its way to the signer, and back.
    max_signing_bytes: int = setting(1_048_576, ge=1_024, le=16_777_216)
    max_subscriptions: int = setting(200, ge=1, le=10_000)
    max_filters: int = setting(20, ge=1, le=1_000)
    max_filter_values: int = setting(2_000, ge=1, le=100_000)
    # What the filters of one connection may take in memory, three times as much those of one
    # address, and 32 times all of them; a tenth of it with profile bunker. A value takes 0.6 KB.
    max_subscription_bytes: int = setting(8_388_608, ge=65_536, le=1_073_741_824)
    max_limit: int = setting(5_000, ge=1, le=100_000)
    default_limit: int = setting(500, ge=1, le=100_000)
    max_event_tags: int = setting(5_000, ge=1, le=100_000)
    max_content_length: int = setting(253_952, ge=1, le=16_777_216)  # characters
    min_pow_difficulty: int = setting(0, ge=0, le=256)  # NIP-13, bits; never asked of kind 24133
    created_at_lower_limit: Seconds = 0  # into the past; 0: any age
    created_at_upper_limit: Seconds = 900  # into the future; phones' clocks run fast too
    max_auth_pubkeys: int = setting(16, ge=1, le=1_000)
    max_outbox_bytes: int = setting(4_194_304, ge=4_096, le=1_073_741_824)
    max_pending_saves: int = setting(256, ge=1, le=10_000)
    max_offences: int = setting(20, ge=1, le=100_000)  # unreadable messages a minute
    max_connections: int = setting(10_000, ge=1, le=1_000_000)
    max_connections_per_ip: int = setting(200, ge=1, le=1_000_000)
    # Of an address's subscriptions: each filter may cost some microseconds of every event.
    max_filters_per_ip: int = setting(2_000, ge=1, le=1_000_000)

    @property
    def max_frame_bytes(self) -> int:
        """What is read at all; a larger message ends the connection."""
        return max(self.max_message_bytes, self.max_signing_bytes)

    def check(self) -> None:
        """Raise ValueError where a bound leaves no room for another."""
        if self.max_outbox_bytes < 4 * self.max_frame_bytes:
            raise ValueError(
                "limits.max_outbox_bytes must be at least four times limits.max_message_bytes and"
                " limits.max_signing_bytes"
            )
        if self.default_limit > self.max_limit:
            raise ValueError("limits.default_limit must not be over limits.max_limit")


@dataclass(frozen=True, kw_only=True)
class Rate(Section):
    """A token bucket: `burst` at once, then `per_second`."""

    per_second: float = setting(gt=0, le=1_000_000)
    burst: int = setting(ge=1, le=1_000_000)


@dataclass(frozen=True, kw_only=True)
class Rates(Section):
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
    # HTTP, and handshakes that are refused; /healthz and /readyz have as much again.
    requests_per_ip: Rate = Rate(per_second=20, burst=500)


@dataclass(frozen=True, kw_only=True)
class Grace(Section):
    """Hold a signing request in memory for a signer that is just waking up; off at 0 seconds."""

    seconds: int = setting(0, ge=0, le=300)
    max_bytes: int = setting(8_388_608, ge=1_024, le=1_073_741_824)


@dataclass(frozen=True, kw_only=True)
class PushSettings(Section):
    """Wake a signer that sleeps in a browser, by Web Push; what it is asked waits in `grace`."""

    enabled: bool = False
    # What push services are told of the owner (RFC 8292): Apple's refuses a push without one.
    contact: Annotated[str, Text(_push_contact)] | None = None
    private_endpoints: bool = False  # also push services within a network, and without TLS


@dataclass(frozen=True, kw_only=True)
class StoreSettings(Section):
    """The database."""

    query_timeout: float = setting(5.0, gt=0, le=300)  # seconds
    busy_timeout: float = setting(5.0, gt=0, le=300)  # that a write waits for a lock
    keep_days: int = setting(0, ge=0, le=36_500)  # older events are deleted; 0 keeps all


@dataclass(frozen=True, kw_only=True)
class Metrics(Section):
    """Prometheus, on its own port; off without one."""

    host: Host = "127.0.0.1"
    port: int | None = setting(None, ge=0, le=65_535)


@dataclass(frozen=True, kw_only=True)
class NatsSettings(Section):
    """The bus between several hosts that are one relay; off without a server."""

    servers: tuple[NatsURL, ...] = ()
    user: str | None = None
    # With one, what comes from the bus is believed; without, each signature is checked again.
    password_file: Path | None = None
    prefix: Annotated[str, Text(_prefix)] = "bunker-relay"

    def check(self) -> None:
        """Raise ValueError for a user without a password, or the other way round."""
        if (self.user is None) != (self.password_file is None):
            raise ValueError("nats.user and nats.password_file are set together")


@dataclass(frozen=True, kw_only=True)
class Log(Section):
    """Where the relay tells what it does: standard error."""

    format: LogFormat = LogFormat.CONSOLE
    level: LogLevel = LogLevel.INFO


@dataclass(frozen=True, kw_only=True)
class Config(Section):
    """One relay's settings."""

    host: Host = "127.0.0.1"
    port: int = setting(7777, ge=0, le=65_535)
    data: Path = Path("relay-data")
    workers: int = setting(1, ge=1, le=64)  # processes; one for each core at most
    # PostgreSQL instead of a file in `data`. Not in a repr: it may hold a password.
    database: DatabaseURL | None = setting(None, repr=False)  # noqa: RUF009
    profile: Profile = Profile.OPEN
    signers: tuple[Pubkey, ...] = ()
    allow: tuple[Pubkey, ...] = ()
    owner: Pubkey | None = None  # may publish, and can't be banned; administers nothing
    admin: Pubkey | None = None  # may call NIP-86, which is off without one
    # Public addresses, one or several; each may have a path, which is served too.
    url: tuple[RelayURL, ...] = ()
    mute: Mute = Mute.ACCEPT
    trusted_proxies: tuple[Network, ...] = ()
    name: str = setting("nostr-bunker relay", max_length=100)
    description: str = "A relay for remote signing: it forwards signing requests and keeps none."
    contact: str | None = None
    icon: str | None = None
    plain: bool = False  # ASGI alone, without the fast path; bound at the start
    ping_interval: float = setting(25.0, gt=0, le=30)  # seconds; nginx drops silence after 60
    ping_timeout: float = setting(20.0, gt=0, le=300)
    shutdown_timeout: float = setting(5.0, gt=0, le=300)
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

    def check(self) -> None:
        """Raise ValueError where settings do not go together."""
        if self.admin is not None and self.admin in (self.owner, *self.signers):
            raise ValueError(
                "admin has to be a key of its own: apps get signatures of the owner's, and one of"
                " them would do to administer the relay"
            )
        if self.profile is Profile.PRIVATE and not self.signers:
            raise ValueError("profile private needs a signer: set signers, or pass --signer NPUB")
        if self.push.enabled and not (self.signers and self.grace.seconds):
            raise ValueError(
                "push.enabled needs signers, who may be woken, and grace.seconds, for what they are"
                " asked has to wait for them; 30 is a good value"
            )


@lru_cache(maxsize=4)  # every connection asks
def _paths(urls: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({"/", *(urlsplit(url).path or "/" for url in urls)}))
