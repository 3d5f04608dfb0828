"""Who may publish what: profile, the gate of kind 24133, the owner's lists.

`visibility` says who may see it.
"""

from collections.abc import Set as AbstractSet
from typing import Final

import orjson

from bunker_core.event import Event
from bunker_core.filter import Filter
from bunker_core.kinds import CLIENT_AUTH, MESSAGES, NOSTR_CONNECT, VANISH, Storage, storage
from bunker_core.nips import nip13, nip40
from bunker_relay.config import Config, Profile
from bunker_relay.event.lists import Lists
from bunker_relay.event.visibility import Visibility

FROM_THE_FUTURE: Final = "invalid: created_at is too far in the future"
_REPOSTS: Final = (6, 16)  # NIP-18
_PROTECTED: Final = ("-",)  # NIP-70


class Policy:
    """The rules of one relay."""

    def __init__(self, config: Config, lists: Lists) -> None:
        self._lists = lists
        self.visibility = Visibility()
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take new settings; they hold from the next event on, for open subscriptions too."""
        self.limits = limits = config.limits
        # For every event: one attribute away instead of two.
        self._max_tags = limits.max_event_tags
        self._max_content = limits.max_content_length
        self._min_pow = limits.min_pow_difficulty
        self._max_ahead = limits.created_at_upper_limit  # seconds
        self.max_subscription_bytes = limits.max_subscription_bytes
        if config.profile is Profile.BUNKER:  # a signer or its app names a handful of pubkeys
            self.max_subscription_bytes //= 10
        self._max_age = limits.created_at_lower_limit  # seconds; 0 for any
        self._kept_for = config.store.keep_days * 86_400  # seconds; 0 for ever
        self._profile = config.profile
        self._protected = self._lists.protected = config.protected
        # Whose word the relay takes: for them it is there, and their keys are no throw-aways.
        self.trusted = frozenset(config.protected) | frozenset(config.allow)
        self._gated = config.gated
        self.signers = frozenset(config.signers)
        self._inbox = config.inbox
        self.visibility.configure(signers=self.signers, guards_messages=config.guard_messages)
        self._allow = frozenset(config.allow) | self.signers
        if config.owner is not None:
            self._allow |= {config.owner}

    def event_refusal(self, event: Event, pubkeys: AbstractSet[str], now: int) -> str:
        """Return why an event is not taken from a client authenticated as `pubkeys`, or "".

        Everything that is cheap to see; the signature comes after it.
        """
        return (
            self._shape_refusal(event, now)
            or self._author_refusal(event)
            or _protection_refusal(event, pubkeys)
        )

    @property
    def count_refusal(self) -> str:
        """Why no COUNT is answered (NIP-45), or ""."""
        stores = self._profile is not Profile.BUNKER
        return "" if stores else "unsupported: this relay stores nothing that could be counted"

    def query_refusal(self, filters: tuple[Filter, ...], pubkeys: AbstractSet[str]) -> str:
        """Return why a client authenticated as `pubkeys` may not ask this, or ""."""
        limits = self.limits
        if len(filters) > limits.max_filters:
            return f"invalid: more than {limits.max_filters} filters"
        if any(_value_count(item) > limits.max_filter_values for item in filters):
            return f"invalid: more than {limits.max_filter_values} values in a filter"
        return self.visibility.refusal(filters, pubkeys)

    def _serves(self, parties: tuple[str, ...]) -> bool:
        return not self.signers.isdisjoint(parties) or not self.visibility.probes.isdisjoint(
            parties
        )

    def _shape_refusal(self, event: Event, now: int) -> str:
        if len(event.tags) > self._max_tags:
            return f"invalid: too large, more than {self._max_tags} tags"
        if event.kind != NOSTR_CONNECT:
            refusal = self._refusal_by_kind(event, now)
            if refusal:
                return refusal
        if event.created_at > now + self._max_ahead:
            return FROM_THE_FUTURE
        if self._max_age and event.created_at < now - self._max_age:
            return "invalid: created_at is too far in the past"
        expires_at = nip40.expiration(event)
        if expires_at is not None and expires_at <= now:
            return "invalid: event has expired"
        return ""

    def _refusal_by_kind(self, event: Event, now: int) -> str:
        """Return what is asked of every kind but 24133, or ""."""
        if event.kind == CLIENT_AUTH:
            return "invalid: kind 22242 is for AUTH"  # NIP-42: never broadcast
        # NIP-11 has one number for all kinds: the one that holds for all of them. A signing request
        # may be as long as its message.
        if len(event.content) > self._max_content:
            return f"invalid: too large, content over {self._max_content} characters"
        if self._min_pow:
            too_easy = nip13.refusal(event, self._min_pow)
            if too_easy:
                return too_easy
        if event.kind == VANISH:
            return (
                "blocked: requests to vanish (NIP-62) are not taken here;"
                " delete with kind 5, or ask the relay's owner"
            )
        if (
            self._kept_for
            and event.created_at < now - self._kept_for
            and storage(event.kind) is Storage.REGULAR
        ):
            return f"invalid: too old, this relay keeps events for {self._kept_for // 86_400} days"
        return ""

    def _author_refusal(self, event: Event) -> str:
        if event.pubkey in self._lists.banned_pubkeys and event.pubkey not in self._protected:
            return "blocked: this pubkey is banned here"
        if event.kind == NOSTR_CONNECT:
            # Client keys are thrown away after use: only the signers' keys can be known.
            if self._gated and not self._serves((event.pubkey, *event.tag_values("p"))):
                return "restricted: this relay serves other signers"
            return ""
        if self._profile is Profile.BUNKER:
            return f"blocked: this relay takes kind {NOSTR_CONNECT} alone"
        if event.id in self._lists.banned_events:
            return "blocked: this event is banned here"
        if not self._lists.takes_kind(event.kind):
            return f"blocked: kind {event.kind} is not taken here"
        if (
            self._profile is Profile.PRIVATE
            and event.pubkey not in self._allow
            and event.pubkey not in self._lists.allowed_pubkeys
            and not (self._inbox and self._is_message_to_us(event))
        ):
            return "restricted: this pubkey may not publish here"
        return ""

    def _is_message_to_us(self, event: Event) -> bool:
        """Tell whether a stranger writes to somebody who may publish here."""
        if event.kind not in MESSAGES:
            return False
        return any(
            pubkey in self._allow or pubkey in self._lists.allowed_pubkeys
            for pubkey in event.tag_values("p")
        )


def _protection_refusal(event: Event, pubkeys: AbstractSet[str]) -> str:
    """NIP-70: an event tagged `-` is taken from its authenticated author alone."""
    if event.pubkey not in pubkeys and _PROTECTED in event.tags:
        if not pubkeys:
            return "auth-required: this event may only be published by its author"
        return "restricted: this event may only be published by its author"
    if event.kind in _REPOSTS and '"-"' in event.content and _embeds_protected(event.content):
        return "blocked: a protected event may not be reposted"
    return ""


def _embeds_protected(content: str) -> bool:
    try:
        embedded = orjson.loads(content)
    except orjson.JSONDecodeError:
        return False
    tags = embedded.get("tags") if isinstance(embedded, dict) else None
    return isinstance(tags, list) and ["-"] in tags


def _value_count(item: Filter) -> int:
    lists = (item.ids, item.authors, item.kinds, *(values for _, values in item.tags))
    return sum(len(values) for values in lists if values is not None)
