"""A stranger's text made safe to look at: what is invisible or moves other text becomes visible.

Escaping for HTML is the template's work. This is about what escaping does not touch: control
characters, marks that turn the reading direction round, zero-width characters, stacks of accents.
"""

import unicodedata
from dataclasses import dataclass
from typing import Final

MAX_ACCENTS: Final = 4  # combining marks on one letter; Vietnamese and pointed Hebrew need three
_JOINERS: Final = "\u200c\u200d"  # Persian and Indic spelling, and emoji of several people
_SPACES: Final = "Zs"


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of text, or (`mark`) the name of one character that must not act."""

    text: str
    mark: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of a text: the beginning, and the rest for whoever asks for it."""

    head: tuple[Piece, ...]
    rest: tuple[Piece, ...]
    rest_length: int  # characters behind the beginning
    hidden_length: int  # characters that are not shown at all


def show(text: str, head: int, limit: int) -> Shown:
    """Return `text` in pieces: `head` characters at once, up to `limit` on request."""
    return Shown(
        pieces(text[:head]),
        pieces(text[head:limit]),
        max(0, len(text) - head),
        max(0, len(text) - limit),
    )


def line(text: str, limit: int = 80) -> str:
    """Return a name or an address as one line of harmless text."""
    flat = "".join(
        piece.text if not piece.mark else "·" for piece in pieces(" ".join(text[:limit].split()))
    )
    return flat + ("…" if len(text) > limit else "")


def text(said: str) -> str:
    """Return what may hold a stranger's words as text that a terminal only shows, lines kept."""
    return "".join(piece.text if not piece.mark else "·" for piece in pieces(said))


def short(key: str) -> str:
    """Return the first and last 8 characters of a key: nobody makes two alike in them by chance.

    Of a bech32 name the letters before the "1" come on top: they are the same for all.
    """
    prefix, one, rest = key.rpartition("1") if key.startswith(("npub1", "note1")) else ("", "", key)
    return key if len(rest) <= 17 else f"{prefix}{one}{rest[:8]}…{rest[-8:]}"


def pieces(text: str) -> tuple[Piece, ...]:
    """Split `text` into what can be shown as it is and what is shown by name."""
    found: list[Piece] = []
    run: list[str] = []
    accents = 0
    for index, character in enumerate(text):
        accents = accents + 1 if unicodedata.category(character).startswith("M") else 0
        if accents <= MAX_ACCENTS and _harmless(text, index, character):
            run.append(character)
            continue
        if run:
            found.append(Piece("".join(run)))
            run = []
        found.append(Piece(f"U+{ord(character):04X}", mark=True))
    if run:
        found.append(Piece("".join(run)))
    return tuple(found)


def _harmless(text: str, index: int, character: str) -> bool:
    if character.isprintable() or character in "\n\t":
        return True
    if character in _JOINERS:
        before, after = text[index - 1 : index], text[index + 1 : index + 2]
        return bool(before) and bool(after) and _joinable(before) and _joinable(after)
    return unicodedata.category(character) == _SPACES


def _joinable(character: str) -> bool:
    # Between ASCII letters a joiner can only hide something.
    return not character.isascii() and unicodedata.category(character)[0] in "LMS"
