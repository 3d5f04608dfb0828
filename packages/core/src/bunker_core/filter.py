"""Filters: which events a subscription wants (NIP-01)."""

from dataclasses import dataclass
from typing import Any, Final

from bunker_core.errors import InvalidFilter, UnsupportedFilter
from bunker_core.event import Event, is_hex
from bunker_core.kinds import MAX_KIND

_LETTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_INT64: Final = range(-(2**63), 2**63)
# NIP-01: these lists MUST contain exact 64-character lower-case hex values.
_HEX_TAGS: Final = frozenset("ep")


@dataclass(frozen=True, slots=True)
class Filter:
    """All conditions given must hold; within a list any one value is enough.

    None means "not asked"; an empty set matches nothing. `tags` maps a single letter to its
    values, as pairs. `since` and `until` are Unix seconds, both inclusive. `limit` binds stored
    events alone, so `matches` does not look at it.
    """

    ids: frozenset[str] | None = None
    authors: frozenset[str] | None = None
    kinds: frozenset[int] | None = None
    tags: tuple[tuple[str, frozenset[str]], ...] = ()
    since: int | None = None
    until: int | None = None
    limit: int | None = None

    def matches(self, event: Event) -> bool:
        """Tell whether `event` is wanted."""
        if self.kinds is not None and event.kind not in self.kinds:
            return False
        if self.authors is not None and event.pubkey not in self.authors:
            return False
        if self.ids is not None and event.id not in self.ids:
            return False
        if self.since is not None and event.created_at < self.since:
            return False
        if self.until is not None and event.created_at > self.until:
            return False
        for name, values in self.tags:
            for tag in event.tags:
                if len(tag) > 1 and tag[0] == name and tag[1] in values:
                    break
            else:
                return False
        return True

    @property
    def never(self) -> bool:
        """Whether no event can match: an empty list, or since after until."""
        lists = (self.ids, self.authors, self.kinds, *(values for _, values in self.tags))
        if any(values is not None and not values for values in lists):
            return True
        return self.since is not None and self.until is not None and self.since > self.until

    def tag(self, name: str) -> frozenset[str] | None:
        """Return the values asked for tag `name`, or None when it is not asked."""
        return next((values for key, values in self.tags if key == name), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON object of NIP-01, its lists sorted."""
        result: dict[str, Any] = {}
        if self.ids is not None:
            result["ids"] = sorted(self.ids)
        if self.authors is not None:
            result["authors"] = sorted(self.authors)
        if self.kinds is not None:
            result["kinds"] = sorted(self.kinds)
        for name, values in self.tags:
            result[f"#{name}"] = sorted(values)
        for name, number in (("since", self.since), ("until", self.until), ("limit", self.limit)):
            if number is not None:
                result[name] = number
        return result


def parse_filter(value: object) -> Filter:
    """Read a filter from parsed JSON.

    An unknown element is refused, never ignored: ignoring a condition would widen the filter.
    Raises InvalidFilter, or UnsupportedFilter for `search` (NIP-50).
    """
    if not isinstance(value, dict):
        raise InvalidFilter("filter is not an object")
    fields: dict[str, Any] = {}
    tags: list[tuple[str, frozenset[str]]] = []
    for key, item in value.items():
        if key in ("ids", "authors"):
            fields[key] = _hex_set(key, item)
        elif key == "kinds":
            fields[key] = _kind_set(item)
        elif key in ("since", "until", "limit"):
            fields[key] = _integer(key, item)
        elif len(key) == 2 and key[0] == "#" and key[1] in _LETTERS:
            values = _hex_set(key, item) if key[1] in _HEX_TAGS else _string_set(key, item)
            tags.append((key[1], values))
        elif key == "search":
            raise UnsupportedFilter("search is not supported")
        else:
            raise InvalidFilter("unknown filter key")
    return Filter(tags=tuple(sorted(tags, key=lambda pair: pair[0])), **fields)


def _string_set(key: str, value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidFilter(f"{key} is not an array of strings")
    return frozenset(value)


def _hex_set(key: str, value: object) -> frozenset[str]:
    if not isinstance(value, list) or not all(is_hex(item, 64) for item in value):
        raise InvalidFilter(f"{key} is not an array of 64 lower-case hex characters each")
    return frozenset(value)


def _kind_set(value: object) -> frozenset[int]:
    if not isinstance(value, list) or not all(
        type(item) is int and 0 <= item <= MAX_KIND for item in value
    ):
        raise InvalidFilter(f"kinds is not an array of integers from 0 to {MAX_KIND}")
    return frozenset(value)


def _integer(key: str, value: object) -> int:
    if type(value) is not int or value not in _INT64:
        raise InvalidFilter(f"{key} is not an integer")
    if key == "limit" and value < 0:
        raise InvalidFilter("limit is negative")
    return value
