"""A question in words, with nothing in it that could move a cursor or break out of a line."""

from typing import Final

from bunker_core.nips.nip46 import Method
from bunker_signer.request.approval import Question

_SHOWN_CHARACTERS: Final = 280
_SHOWN_ITEMS: Final = 5


def headline(question: Question) -> str:
    """Return who wants what, without any content: fit for a notification by a third party."""
    name = f'"{plain(question.client_name)}" (unverified)' if question.client_name else "A client"
    key = f"{question.client_pubkey[:4]}…{question.client_pubkey[-4:]}"
    action, count = question.action, len(question.items)
    if action.method is Method.SIGN_EVENT:
        what = f"an event of kind {action.kind}"
        if count > 1:
            what = f"{count} events of kind {action.kind}"
        return f"{name}, key {key}, wants to sign {what}"
    verb = "read" if action.method.value.endswith("_decrypt") else "encrypt"
    what = "a message" if count == 1 else f"{count} messages"
    peer = f" with {action.peer[:4]}…{action.peer[-4:]}" if action.peer else ""
    return f"{name}, key {key}, wants to {verb} {what}{peer} ({action.method.value})"


def describe(question: Question) -> str:
    """Return the question with the beginnings of the contents."""
    lines = [headline(question)]
    if question.key_name != "default":
        lines[0] += f" with the key {question.key_name}"
    for item in question.items[:_SHOWN_ITEMS]:
        if item.template is not None:
            tags = f"  [{len(item.template.tags)} tags]" if item.template.tags else ""
            lines.append(f"  {plain(item.template.content) or '(no content)'}{tags}")
    if question.action.method is Method.SIGN_EVENT and len(question.items) > _SHOWN_ITEMS:
        lines.append(f"  … and {len(question.items) - _SHOWN_ITEMS} more")
    return "\n".join(lines)


def plain(text: str, limit: int = _SHOWN_CHARACTERS) -> str:
    """Return the beginning of a stranger's text with what is not printable made visible."""
    shown = "".join(
        character if character.isprintable() else "·" for character in text[: limit + 1]
    )
    return shown if len(shown) <= limit else shown[:limit] + "…"
