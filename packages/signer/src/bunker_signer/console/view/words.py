"""A question in words: what is asked, what to beware of, and what each answer would allow."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from bunker_core.errors import InvalidEntity
from bunker_core.event import EventTemplate
from bunker_core.nips.nip19 import encode_npub
from bunker_core.nips.nip46 import Method
from bunker_signer.console.view import plain
from bunker_signer.console.view.plain import Shown
from bunker_signer.console.view.texts import Texts
from bunker_signer.console.view.waiting import seen
from bunker_signer.policy import Action
from bunker_signer.request.approval import Item, Question

HEAD: Final = 1200  # characters of a content that are shown at once
LIMIT: Final = 120_000  # characters of it that are shown at all
TAGS: Final = 60  # tags that are shown
TAG_LENGTH: Final = 240  # characters of one value in a tag
ITEMS: Final = 20  # requests of a burst that are shown in full
ODD_TIME: Final = 3600  # seconds off our clock at which a date is worth a warning

# What replaces something of the owner's that he may not get back, or tells a lot about him.
DANGEROUS_KINDS: Final = (0, 3, 5, 10002, 30078)
# Logins: what counts is where to.
_LOGIN_TAGS: Final = {22242: "relay", 27235: "u", 24242: "t"}

# The answers that last, in seconds; None is for good.
PERIODS: Final = {"10m": 600, "1h": 3600, "always": None}


@dataclass(frozen=True, slots=True)
class Moment:
    """A time: for a machine, for a person, or neither when the number is none."""

    iso: str
    text: str


@dataclass(frozen=True, slots=True)
class Detail:
    """One event of a question."""

    content: Shown
    size: str
    created: Moment
    tags: tuple[tuple[str, ...], ...]
    tag_count: int


@dataclass(frozen=True, slots=True)
class Offer:
    """An answer that lasts, and what it would allow, spelt out."""

    value: str
    label: str
    spelt: str


@dataclass(frozen=True, slots=True)
class Card:
    """A question as the page shows it."""

    id: str
    seen: str
    app: str
    app_key: str
    key: str
    title: str
    what: str  # the method and kind in the protocol's own words
    count: int
    peer: str
    where: str  # of a login
    warnings: tuple[str, ...]
    details: tuple[Detail, ...]
    more: int  # requests of the burst that are not shown
    offers: tuple[Offer, ...]
    asked: Moment
    deadline: Moment
    deadline_unix: int


def card_of(question: Question, key: str, texts: Texts, now: float) -> Card:
    """Return `question` in words; `key` is how the owner's key is shown."""
    action = question.action
    app = name_of(question.client_name, texts)
    templates = [item.template for item in question.items[:ITEMS] if item.template is not None]
    return Card(
        id=question.items[0].request,
        seen=seen(question),
        app=app,
        app_key=short(question.client_pubkey),
        key=key,
        title=title_of(action, len(question.items), texts),
        what=protocol_words(action),
        count=len(question.items),
        peer=encode_npub(action.peer) if action.peer else "",
        where=_where(question.items[0]),
        warnings=tuple(_warnings(action, question.items, texts, now)),
        details=tuple(_detail(template, texts) for template in templates),
        more=max(0, len(question.items) - ITEMS) if templates else 0,
        offers=tuple(_offers(app, action, texts)),
        asked=moment(int(question.asked_at), texts),
        deadline=moment(int(question.deadline), texts),
        deadline_unix=int(question.deadline),
    )


def title_of(action: Action, count: int, texts: Texts) -> str:
    """Return what a request wants, as a person would say it."""
    peer = short(encode_npub(action.peer)) if action.peer else ""
    if action.method is not Method.SIGN_EVENT:
        return texts.number(f"do.{_verb(action.method)}", count, peer=peer)
    known = f"kind.{action.kind}"
    name = texts(known) if texts.has(known) else texts("kind.unknown", kind=action.kind)
    return name if count == 1 else texts("do.several", what=name, count=count)


def grant_words(method: str, param: str | None, texts: Texts) -> str:
    """Return what a grant allows; `param` is a kind or a peer, None is any."""
    try:
        known = Method(method)
        if known is Method.SIGN_EVENT:
            if param is None:
                return texts("grant.any_kind")
            return title_of(Action(known, kind=int(param)), 1, texts)
        if not known.value.endswith("crypt"):
            return plain.line(method)
        if param is None:
            return texts(f"grant.any_{_verb(known)}")
        return title_of(Action(known, peer=param), 1, texts)
    except (ValueError, InvalidEntity):  # of a client: its wishes may be anything
        return plain.line(f"{method} {param or ''}")


def by_words(by: str, texts: Texts) -> str:
    """Return who decided, as the audit log has it: a device's name, a rule, or another way."""
    device = by.removeprefix("console: ")
    if device != by:
        return device
    key = f"by.{by.partition(' ')[0]}"
    return texts(key) if texts.has(key) else by


def protocol_words(action: Action) -> str:
    """Return the method and kind as NIP-46 names them."""
    kind = "" if action.kind is None else f" · kind {action.kind}"
    return f"{action.method.value}{kind}"


def short(key: str) -> str:
    """Return the first and last 4 characters: enough to tell two apps of one name apart."""
    return f"{key[:4]}…{key[-4:]}"


def name_of(name: str, texts: Texts) -> str:
    """Return what an app calls itself."""
    return plain.line(name, 64) if name.strip() else texts("app.nameless")


def moment(seconds: int, texts: Texts) -> Moment:
    """Return a Unix time; a number that is no date stays a number."""
    try:
        when = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return Moment("", texts("date.impossible", number=seconds))
    # The page's script puts it into the reader's own time and language.
    return Moment(when.strftime("%Y-%m-%dT%H:%M:%SZ"), when.strftime("%Y-%m-%d %H:%M:%S UTC"))


def size_of(count: int, texts: Texts) -> str:
    """Return a number of bytes in words."""
    return (
        texts("size.bytes", n=count) if count < 1024 else texts("size.kb", n=f"{count / 1024:.1f}")
    )


def _verb(method: Method) -> str:
    return "decrypt" if method.value.endswith("_decrypt") else "encrypt"


def _detail(template: EventTemplate, texts: Texts) -> Detail:
    shown = tuple(
        tuple(plain.line(value, TAG_LENGTH) for value in tag[:12]) for tag in template.tags[:TAGS]
    )
    return Detail(
        plain.show(template.content, HEAD, LIMIT),
        size_of(len(template.content.encode(errors="replace")), texts),
        moment(template.created_at, texts),
        shown,
        len(template.tags),
    )


def _where(item: Item) -> str:
    template = item.template
    if template is None or template.kind not in _LOGIN_TAGS:
        return ""
    wanted = _LOGIN_TAGS[template.kind]
    values = (tag[1] for tag in template.tags if len(tag) > 1 and tag[0] == wanted)
    return plain.line(next(values, ""), TAG_LENGTH)


def _warnings(action: Action, items: tuple[Item, ...], texts: Texts, now: float) -> list[str]:
    found: list[str] = []
    if action.kind in DANGEROUS_KINDS:
        found.append(texts(f"warning.kind_{action.kind}"))
    if action.method is not Method.SIGN_EVENT and _verb(action.method) == "decrypt":
        found.append(texts("warning.decrypt"))
    if action.kind is not None and not texts.has(f"kind.{action.kind}"):
        found.append(texts("warning.unknown_kind"))
    templates = [item.template for item in items if item.template is not None]
    if any(abs(template.created_at - now) > ODD_TIME for template in templates):
        found.append(texts("warning.odd_date"))
    if any(_has_marks(template.content) for template in templates):
        found.append(texts("warning.invisible"))
    return found


def _has_marks(content: str) -> bool:
    return any(piece.mark for piece in plain.pieces(content[:LIMIT]))


def _offers(app: str, action: Action, texts: Texts) -> list[Offer]:
    what = title_of(action, 1, texts)
    return [
        Offer(value, texts(f"answer.{value}"), texts(f"spelt.{value}", app=app, what=what))
        for value in PERIODS
    ]
