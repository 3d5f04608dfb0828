"""A request as facts: what it asks, where to, how many times, what to beware of."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from bunker_core.describe import plain
from bunker_core.describe.change import Change, Known, change_of, deletes
from bunker_core.describe.texts import Sentence, sentence, texts_of
from bunker_core.errors import InvalidEntity
from bunker_core.event import EventTemplate, Tags
from bunker_core.nips.nip19 import encode_npub
from bunker_core.nips.nip46 import Method

ODD_TIME: Final = 3600  # seconds off our clock at which a date is worth a warning
FAR_TIME: Final = 24 * 3600  # and at which it is worth a second question
# Characters of a text that are searched for what is invisible.
LOOKED_AT: Final = 120_000

# What replaces something of the owner's that they may not get back, or tells a lot about them.
DANGEROUS_KINDS: Final = (0, 3, 5, 10002, 30078)
# Logins: what counts is where to. NIP-42, NIP-98, Blossom's BUD-11.
LOGIN_TAGS: Final = {22242: "relay", 27235: "u", 24242: "server"}
# Kinds that a NIP gives by range, and the first of the range.
_RANGES: Final = ((1630, 1633), (5000, 5999), (6000, 6999), (9000, 9030), (39000, 39009))


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: an event to sign, or a text to encrypt ("" for one to decrypt)."""

    template: EventTemplate | None = None
    text: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Detail:
    """One request of a question: all of its text and tags, and what it would change."""

    content: str = field(repr=False)
    created_at: int | None  # Unix seconds; None where there is no event
    tags: Tags = field(repr=False)
    changes: tuple[Sentence, ...] = ()


@dataclass(frozen=True, slots=True)
class Description:
    """What a person has to know. The same for all requests of one question."""

    method: Method
    kind: int | None
    peer: str  # npub, or ""
    count: int
    title: Sentence
    where: tuple[str, ...]  # of a login: relay, address, server
    details: tuple[Detail, ...]
    warnings: tuple[Sentence, ...]
    dangers: tuple[Sentence, ...]  # reasons to ask a second time; each is a warning as well


def describe(
    method: Method,
    asked: Sequence[Asked],
    *,
    now: float,
    kind: int | None = None,
    peer: str | None = None,
    known: Known | None = None,
) -> Description:
    """Describe requests of one method and one kind (or peer, a pubkey); `now` is Unix seconds."""
    known = known or Known()
    where = _where(asked)
    changes = [change_of(item.template, known) if item.template else Change() for item in asked]
    dangers = _dangers(kind, asked, changes, where, known, now)
    return Description(
        method,
        kind,
        _npub(peer) if peer else "",
        len(asked),
        title(method, kind, peer, len(asked), known),
        where,
        tuple(_detail(item, change) for item, change in zip(asked, changes, strict=True)),
        (*_warnings(method, kind, asked, known, now), *dangers),
        dangers,
    )


def title(
    method: Method, kind: int | None, peer: str | None, count: int = 1, known: Known | None = None
) -> Sentence:
    """Return what a request wants, as a person would say it."""
    if method is not Method.SIGN_EVENT:
        other = (known or Known()).name(peer) if peer else ""
        return sentence(f"do.{verb(method)}", count, peer=other)
    what = kind_name(kind)
    return what if count == 1 else sentence("do.several", what=what, count=count)


def kind_name(kind: int | None) -> Sentence:
    """Return what signing an event of `kind` does, or that nobody here knows."""
    first = next((low for low, high in _RANGES if kind is not None and low <= kind <= high), kind)
    key = f"kind.{first}"
    return sentence(key) if texts_of("en").has(key) else sentence("kind.unknown", kind=kind or 0)


def verb(method: Method) -> str:
    """Return `decrypt` or `encrypt`."""
    return "decrypt" if method.value.endswith("_decrypt") else "encrypt"


def host_of(address: str) -> str:
    """Return the host and port of a URL, in lower case; "" when there is none."""
    try:
        return urlsplit(address).netloc.rpartition("@")[2].lower()
    except ValueError:
        return ""


def hosts(template: EventTemplate) -> tuple[str, ...]:
    """Return the hosts that a login is good for."""
    wanted = LOGIN_TAGS.get(template.kind)
    values = [tag[1] for tag in template.tags if len(tag) > 1 and tag[0] == wanted]
    # Blossom gives a server by its bare domain, the other two by URL.
    return tuple(dict.fromkeys(host_of(value) or value.lower() for value in values))


def _where(asked: Sequence[Asked]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for item in asked:
        wanted = LOGIN_TAGS.get(item.template.kind) if item.template else None
        if item.template is None or wanted is None:
            continue
        for tag in item.template.tags:
            if len(tag) > 1 and tag[0] == wanted:
                found[plain.line(tag[1], 240)] = None
    return tuple(found)


def _detail(item: Asked, change: Change) -> Detail:
    if item.template is None:
        return Detail(item.text, None, ())
    template = item.template
    return Detail(template.content, template.created_at, template.tags, change.says)


def _warnings(
    method: Method, kind: int | None, asked: Sequence[Asked], known: Known, now: float
) -> list[Sentence]:
    found: list[Sentence] = []
    if known.same_name:
        found.append(sentence("warning.same_name"))
    if kind in DANGEROUS_KINDS:
        found.append(sentence(f"warning.kind_{kind}"))
    if method is not Method.SIGN_EVENT and verb(method) == "decrypt":
        found.append(sentence("warning.decrypt"))
    if kind is not None and kind_name(kind).key == "kind.unknown":
        found.append(sentence("warning.unknown_kind"))
    off = _off(asked, now)
    if ODD_TIME < off <= FAR_TIME:
        found.append(sentence("warning.odd_date"))
    texts = [item.template.content if item.template else item.text for item in asked]
    if any(piece.mark for text in texts for piece in plain.pieces(text[:LOOKED_AT])):
        found.append(sentence("warning.invisible"))
    return found


def _dangers(
    kind: int | None,
    asked: Sequence[Asked],
    changes: Sequence[Change],
    where: Sequence[str],
    known: Known,
    now: float,
) -> tuple[Sentence, ...]:
    found = dict.fromkeys(danger for change in changes for danger in change.dangers)
    if kind == 5:
        targets = sum(
            tag[:1] in (("e",), ("a",))
            for item in asked
            if item.template
            for tag in item.template.tags
        )
        found = dict.fromkeys(deletes(targets))  # of all together
    if kind == 62:
        found[sentence("warning.kind_62")] = None
    if _off(asked, now) > FAR_TIME:
        found[sentence("warning.far_date")] = None
    if kind in LOGIN_TAGS:
        if kind != 24242 and not where:
            found[sentence("warning.no_host")] = None
        named = {host for item in asked if item.template for host in hosts(item.template)}
        for host in sorted(named) if known.hosts is not None else ():
            if host not in known.hosts:  # type: ignore[operator]
                found[sentence("warning.new_host", host=plain.line(host, 120))] = None
    return tuple(found)


def _off(asked: Sequence[Asked], now: float) -> float:
    dates = [abs(item.template.created_at - now) for item in asked if item.template]
    return max(dates, default=0)


def _npub(peer: str) -> str:
    try:
        return encode_npub(peer)
    except InvalidEntity:
        return plain.line(peer, 80)
