"""What a request asks of a key, for the person who decides: facts first, words last.

    description.py   a request as facts: what, where, how many, what to beware of
    change.py        what an event would replace, delete or pay, beside what is there now
    plain.py         a stranger's text made harmless and visible
    texts.py         every sentence by its key, in each language of `texts/`
    lines.py         a description as lines of text, for a terminal

Pure, and the one source for console, terminal, command line, notification, NIP-07 prompt and phone:
whoever is asked sees the same. `texts/*.json` is read by JavaScript as well.
"""

from bunker_core.describe.change import Known
from bunker_core.describe.description import Asked, Description, Detail, describe
from bunker_core.describe.texts import LANGUAGES, Sentence, Texts, texts_of

__all__ = [
    "LANGUAGES",
    "Asked",
    "Description",
    "Detail",
    "Known",
    "Sentence",
    "Texts",
    "describe",
    "texts_of",
]
