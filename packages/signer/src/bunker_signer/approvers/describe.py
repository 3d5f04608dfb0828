"""A question as text, with nothing in it that could move a cursor or break out of a line."""

from bunker_core.describe import Texts, plain, texts_of
from bunker_core.describe.description import title
from bunker_core.describe.lines import lines
from bunker_signer.request.approval import Question


def headline(question: Question, texts: Texts | None = None) -> str:
    """Return who wants what, without any content: fit for a notification by a third party."""
    t = texts or texts_of("en")
    key, name = plain.short(question.client_pubkey), question.client_name
    who = t("who.app", name=plain.line(name), key=key) if name else t("who.nameless", key=key)
    action = question.action
    what = title(action.method, action.kind, action.peer, len(question.items))
    asks = t("who.asks", who=who, what=t.say(what))
    if question.key_name == "default":
        return asks
    return t("who.with_key", asks=asks, key=plain.line(question.key_name))


def describe(question: Question, now: float, texts: Texts | None = None) -> str:
    """Return all that a person is shown of a question; `now` is Unix seconds."""
    t = texts or texts_of("en")
    return "\n".join([headline(question, t), *lines(question.description(now), t)])
