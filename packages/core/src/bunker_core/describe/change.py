"""What an event would change: beside what it replaces, as far as that is known.

A follow list is judged by who would be gone, a profile by its fields, a deletion by what was said.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from bunker_core.describe import plain
from bunker_core.describe.texts import Sentence, sentence
from bunker_core.errors import InvalidEntity
from bunker_core.event import Event, EventTemplate
from bunker_core.kinds import Storage, storage
from bunker_core.nips.nip19 import encode_npub

NAMED: Final = 8  # entries that are named, of those that come or go
FIELDS: Final = 20  # of a profile
DELETED: Final = 20  # posts that are shown, of those to delete
LOSS: Final = 5  # a list may lose one in so many of its entries without a further question
MANY: Final = 5  # posts whose deletion is many
_SHORT: Final = 160  # characters of a field or a deleted post

# Lists by what their entries are; other tags of them are no entries.
_ENTRIES: Final[Mapping[int, tuple[str, ...]]] = {
    3: ("p",),
    10000: ("p", "e", "t", "word"),
    10002: ("r",),
    10050: ("relay",),
    30000: ("p",),
}
_NO_ENTRIES: Final = ("d", "title", "name", "description", "image", "client", "alt", "expiration")


@dataclass(frozen=True, slots=True)
class Known:
    """What the signer knows of the owner, apart from the request itself.

    `events` holds the latest replaceable event by kind and d tag, `notes` the text of events by
    id, `names` people's names by pubkey. `hosts` is where this key has logged in before; None
    when nobody keeps count.
    """

    events: Mapping[tuple[int, str], EventTemplate | Event] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    hosts: Collection[str] | None = None
    same_name: bool = False  # another paired app calls itself the same
    own_name: str = ""  # of the key that is asked for, by its own profile

    def name(self, pubkey: str) -> str:
        """Return a person's name in the owner's own lists, else the short npub."""
        known = self.names.get(pubkey, "")
        if known:
            return plain.line(known, 40)
        try:
            return plain.short(encode_npub(pubkey))
        except InvalidEntity:
            return plain.line(pubkey, 40)


@dataclass(frozen=True, slots=True)
class Change:
    """What would change in sentences; `dangers` are reasons to ask twice."""

    says: tuple[Sentence, ...] = ()
    dangers: tuple[Sentence, ...] = ()


def change_of(event: EventTemplate, known: Known) -> Change:
    """Return what signing `event` would change."""
    special = _SPECIAL.get(event.kind)
    if special is not None:
        return special(event, known)
    if storage(event.kind) in (Storage.REPLACEABLE, Storage.ADDRESSABLE):
        return _list(event, known) if _is_list(event) else _data(event, known)
    mentioned = _values(event, "p")
    if mentioned and event.kind in (1, 1111, 6, 7, 16):
        return Change((sentence("change.mentions", names=_some(mentioned, known.name)),))
    return Change()


def d_tag(event: EventTemplate | Event) -> str:
    """Return what tells addressable events of one kind apart; "" for others (NIP-01)."""
    if storage(event.kind) is not Storage.ADDRESSABLE:
        return ""
    return next((tag[1] for tag in event.tags if len(tag) > 1 and tag[0] == "d"), "")


def _is_list(event: EventTemplate) -> bool:
    # NIP-51: sets are 30000 to 30030 and a few more; articles and app data hold text.
    return event.kind < 20000 or event.kind in _ENTRIES or 30000 <= event.kind <= 30007


def _list(event: EventTemplate, known: Known) -> Change:
    old = known.events.get((event.kind, d_tag(event)))
    now = _entries(event)
    counted = "change.follows" if event.kind == 3 else "change.entries"
    says = [sentence(counted, len(now))]
    named = [tag[1] for tag in event.tags if len(tag) > 1 and tag[0] == "d" and tag[1]]
    if named:
        says.insert(0, sentence("change.name", name=plain.line(named[0], _SHORT)))
    if old is None:
        says.append(sentence("change.unknown"))
        if 0 < len(now) <= NAMED:
            says.append(sentence("change.new", len(now), names=_named(now, known)))
        return Change(tuple(says))
    before = _entries(old)
    gone = [entry for entry in before if entry not in now]
    fresh = [entry for entry in now if entry not in before]
    difference = len(now) - len(before)
    if difference:
        says.append(sentence("change.fewer" if difference < 0 else "change.more", abs(difference)))
    elif not gone and not fresh:
        says.append(sentence("change.nothing"))
    else:
        says.append(sentence("change.as_many"))
    if gone:
        says.append(sentence("change.gone", len(gone), names=_named(gone, known)))
    if fresh:
        says.append(sentence("change.new", len(fresh), names=_named(fresh, known)))
    size, size_before = _size(event), _size(old)
    dangers = [sentence("warning.loses")] if len(gone) * LOSS > len(before) else []
    if size != size_before and event.kind != 3:  # kind 3 once kept relays there
        says.append(sentence("change.private", after=size, before=size_before))
        if size_before and (size_before - size) * LOSS > size_before:
            dangers = [sentence("warning.loses")]
    return Change(tuple(says), tuple(dangers))


def _data(event: EventTemplate, known: Known) -> Change:
    """An article, or an app's data: by size."""
    name, old = d_tag(event), known.events.get((event.kind, d_tag(event)))
    says = [sentence("change.name", name=plain.line(name, _SHORT))] if name else []
    if old is None:
        return Change(tuple(says))
    says.append(sentence("change.size", after=_size(event), before=_size(old)))
    lost = _size(old) - _size(event)
    return Change(tuple(says), (sentence("warning.loses"),) if lost * LOSS > _size(old) else ())


def _profile(event: EventTemplate, known: Known) -> Change:
    fields = _object(event.content)
    if fields is None:
        return Change((sentence("change.not_json"),), (sentence("warning.empty_profile"),))
    old = known.events.get((0, ""))
    before = (_object(old.content) if old is not None else None) or {}
    says: list[Sentence] = []
    for name in [*before, *(item for item in fields if item not in before)][:FIELDS]:
        was, is_now = _text(before.get(name)), _text(fields.get(name))
        shown = plain.line(name, 40)
        if was == is_now:
            continue
        if not is_now:
            says.append(sentence("change.field_gone", field=shown, before=was))
        elif not was:
            key = "change.field_is" if old is None else "change.field_new"
            says.append(sentence(key, field=shown, after=is_now))
        else:
            says.append(sentence("change.field", field=shown, after=is_now, before=was))
    if old is None:
        says.append(sentence("change.unknown"))
    elif not says:
        says.append(sentence("change.nothing"))
    empty = not any(_text(value) for value in fields.values())
    lost = [name for name in before if _text(before[name]) and not _text(fields.get(name))]
    if empty:
        return Change(tuple(says), (sentence("warning.empty_profile"),))
    return Change(tuple(says), (sentence("warning.loses"),) if len(lost) * 2 > len(before) else ())


def _deletion(event: EventTemplate, known: Known) -> Change:
    wanted = _values(event, "e") + _values(event, "a")
    says = [sentence("change.deletes", len(wanted))]
    for target in wanted[:DELETED]:
        text = known.notes.get(target)
        if text is None:
            says.append(sentence("change.deleted_unknown", id=plain.short(plain.line(target, 200))))
        else:
            says.append(sentence("change.deleted", text=plain.line(text, _SHORT)))
    if len(wanted) > DELETED:
        says.append(sentence("line.more_items", count=len(wanted) - DELETED))
    return Change(tuple(says), deletes(len(wanted)))


def deletes(count: int) -> tuple[Sentence, ...]:
    """Return the reason to ask twice before `count` posts are deleted."""
    return (sentence("warning.deletes_many", count),) if count > MANY else ()


def _zap(event: EventTemplate, known: Known) -> Change:
    to = known.name((_values(event, "p") or [""])[0])
    amount = (_values(event, "amount") or [""])[0]
    if not amount.isascii() or not amount.isdigit() or len(amount) > 18:
        return Change((sentence("change.no_amount", name=to),))
    sats, rest = divmod(int(amount), 1000)  # NIP-57: millisats
    return Change((sentence("change.amount", sats=f"{sats}.{rest:03}" if rest else sats, name=to),))


def _http(event: EventTemplate, _: Known) -> Change:
    method = plain.line((_values(event, "method") or ["?"])[0], 20)
    url = plain.line((_values(event, "u") or ["?"])[0], 240)
    return Change((sentence("change.request", method=method, url=url),))


def _upload(event: EventTemplate, _: Known) -> Change:
    verb = plain.line((_values(event, "t") or ["?"])[0], 40)
    until = (_values(event, "expiration") or [""])[0]
    return Change((sentence("change.upload", verb=verb, until=_when(until)),))


_SPECIAL: Final[Mapping[int, Callable[[EventTemplate, Known], Change]]] = {
    0: _profile,
    5: _deletion,
    9734: _zap,
    24242: _upload,
    27235: _http,
}


def _entries(event: EventTemplate | Event) -> dict[tuple[str, ...], None]:
    """Return the entries of a list, in order and without doubles.

    A relay counts with its marker; what a person is called does not count.
    """
    wanted = _ENTRIES.get(event.kind)
    found: dict[tuple[str, ...], None] = {}
    for tag in event.tags:
        if len(tag) < 2 or tag[0] in _NO_ENTRIES or (wanted and tag[0] not in wanted):
            continue
        found[tag[:3] if tag[0] == "r" else tag[:2]] = None
    return found


def _named(entries: Iterable[tuple[str, ...]], known: Known) -> "str | Sentence":
    def name(entry: tuple[str, ...]) -> str:
        if entry[0] == "p":
            return known.name(entry[1])
        if entry[0] == "e":
            return plain.line(known.notes.get(entry[1], plain.short(entry[1])), 60)
        return plain.line(" ".join(entry[1:]), 80)

    return _some(list(entries), name)


def _some(items: Sequence[Any], name: Callable[[Any], str]) -> "str | Sentence":
    names = ", ".join(name(item) for item in items[:NAMED])
    if len(items) <= NAMED:
        return names
    return sentence("change.and_more", names=names, count=len(items) - NAMED)


def _values(event: EventTemplate, name: str) -> list[str]:
    return [tag[1] for tag in event.tags if len(tag) > 1 and tag[0] == name]


def _size(event: EventTemplate | Event) -> int:
    return len(event.content.encode(errors="replace"))


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _text(value: object) -> str:
    if value is None or value == "":
        return ""
    try:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)[:_SHORT]
    except RecursionError:  # written down it goes one deeper than it was read
        return "…"
    return plain.line(text, _SHORT)


def _when(text: str) -> str:
    try:
        return datetime.fromtimestamp(int(text[:16]), UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return plain.line(text, 40) or "?"
