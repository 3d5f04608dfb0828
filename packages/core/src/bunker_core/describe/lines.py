"""A description as lines of text, for a terminal: nothing in them moves a cursor."""

from collections import Counter
from datetime import UTC, datetime
from typing import Final

from bunker_core.describe import plain
from bunker_core.describe.description import Description, Detail
from bunker_core.describe.texts import Texts

HEAD: Final = 1200  # characters of a text that are shown
TAGS: Final = 20  # tags of one event that are shown; of the rest the number by name
_TAG_LENGTH: Final = 240


def lines(description: Description, texts: Texts) -> list[str]:
    """Return everything but who asks, each line indented once."""
    shown: list[str] = []
    if description.peer:
        shown.append(texts("line.peer", peer=description.peer))
    shown += [texts("line.where", where=where) for where in description.where]
    shown += [texts("line.warning", what=texts.say(item)) for item in description.warnings]
    for index, detail in enumerate(description.details):
        if description.count > 1:
            shown.append(texts("line.item", n=index + 1, count=description.count))
        shown += _detail(detail, texts)
    return [f"  {line}" for line in shown]


def _detail(detail: Detail, texts: Texts) -> list[str]:
    shown = [texts.say(change) for change in detail.changes]
    if detail.content:
        shown.append(plain.line(detail.content, HEAD))
        if len(detail.content) > HEAD:
            shown.append(texts("line.more_text", count=len(detail.content) - HEAD))
    elif detail.created_at is not None:
        shown.append(texts("line.no_content"))
    for tag in detail.tags[:TAGS]:
        value = " ".join(plain.line(item, _TAG_LENGTH) for item in tag[:6])
        shown.append(texts("line.tag", tag=value))
    if len(detail.tags) > TAGS:
        counted = Counter(plain.line(tag[0], 20) if tag else "" for tag in detail.tags[TAGS:])
        names = ", ".join(f"{count} {name}" for name, count in counted.most_common(6))
        shown.append(texts("line.more_tags", count=len(detail.tags) - TAGS, names=names))
    if detail.created_at is not None:
        shown.append(texts("line.dated", when=_date(detail.created_at)))
    return shown


def _date(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return str(seconds)
