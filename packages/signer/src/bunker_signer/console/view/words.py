"""A question in words: what is asked, what to beware of, and what each answer would allow."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from bunker_core.describe import Detail as Described
from bunker_core.describe import Texts, plain
from bunker_core.describe.description import title, verb
from bunker_core.describe.plain import Shown, short
from bunker_core.errors import InvalidEntity
from bunker_core.nips.nip19 import parse_pubkey
from bunker_core.nips.nip46 import Method
from bunker_signer.console.view.waiting import seen
from bunker_signer.policy import Action
from bunker_signer.request.approval import Question

HEAD: Final = 1200  # characters of a content that are shown at once
LIMIT: Final = 120_000  # characters of it that are shown at all
TAGS: Final = 60  # tags that are shown
TAG_LENGTH: Final = 240  # characters of one value in a tag
# The answers that last, in seconds; None is for good.
PERIODS: Final = {"10m": 600, "1h": 3600, "always": None}


@dataclass(frozen=True, slots=True)
class Moment:
    """A time: for a machine, for a person, or neither when the number is none."""

    iso: str
    text: str


@dataclass(frozen=True, slots=True)
class Detail:
    """One request of a question."""

    event: bool  # and not a text to encrypt
    changes: tuple[str, ...]
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
    where: tuple[str, ...]  # of a login
    warnings: tuple[str, ...]
    dangerous: bool  # enough to ask twice
    details: tuple[Detail, ...]
    offers: tuple[Offer, ...]
    asked: Moment
    deadline: Moment
    deadline_unix: int
    locked: bool  # to allow takes an unlock
    needs_passphrase: bool


def card_of(
    question: Question,
    key: str,
    texts: Texts,
    now: float,
    *,
    locked: bool = False,
    needs_passphrase: bool = False,
) -> Card:
    """Return `question` in words; `key` is how the owner's key is shown."""
    action, described = question.action, question.description(now)
    app = name_of(question.client_name, texts)
    return Card(
        id=question.items[0].request,
        seen=seen(question),
        app=app,
        app_key=short(question.client_pubkey),
        key=key,
        title=texts.say(described.title),
        what=protocol_words(action),
        count=described.count,
        peer=described.peer,
        where=described.where,
        warnings=tuple(map(texts.say, described.warnings)),
        dangerous=bool(described.dangers),
        details=tuple(
            _detail(detail, texts)
            for detail in described.details
            if detail.created_at is not None or detail.content
        ),
        offers=tuple(_offers(app, action, texts)),
        asked=moment(int(question.asked_at), texts),
        deadline=moment(int(question.deadline), texts),
        deadline_unix=int(question.deadline),
        locked=locked,
        needs_passphrase=needs_passphrase,
    )


def title_of(action: Action, count: int, texts: Texts) -> str:
    """Return what a request wants, as a person would say it."""
    return texts.say(title(action.method, action.kind, action.peer, count))


def grant_words(method: str, param: str | None, texts: Texts) -> str:
    """Return what a grant allows; `param` is a kind or a peer, None is any."""
    try:
        known = Method(method)
        if known is Method.SIGN_EVENT:
            if param is None:
                return texts("grant.any_kind")
            kind, _, host = param.partition(":")
            title = title_of(Action(known, kind=int(kind)), 1, texts)
            return f"{title} · {plain.line(host, 120)}" if host else title
        if not known.value.endswith("crypt"):
            return plain.line(method)
        if param is None:
            return texts(f"grant.any_{verb(known)}")
        return title_of(Action(known, peer=parse_pubkey(param)), 1, texts)
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


def _detail(detail: Described, texts: Texts) -> Detail:
    shown = tuple(
        tuple(plain.line(value, TAG_LENGTH) for value in tag[:12]) for tag in detail.tags[:TAGS]
    )
    return Detail(
        detail.created_at is not None,
        tuple(map(texts.say, detail.changes)),
        plain.show(detail.content, HEAD, LIMIT),
        size_of(len(detail.content.encode(errors="replace")), texts),
        moment(detail.created_at or 0, texts),
        shown,
        len(detail.tags),
    )


def _offers(app: str, action: Action, texts: Texts) -> list[Offer]:
    what = title_of(action, 1, texts)
    return [
        Offer(value, texts(f"answer.{value}"), texts(f"spelt.{value}", app=app, what=what))
        for value in PERIODS
    ]
