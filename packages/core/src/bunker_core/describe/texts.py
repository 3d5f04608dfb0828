"""Sentences by key: what is meant, and how a language says it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

LANGUAGES: Final = ("en", "de")


@dataclass(frozen=True, slots=True)
class Sentence:
    """What is said, in no language yet. A value can be a sentence itself.

    With `count` the language picks its form for one or for several, and fills the number in.
    """

    key: str
    values: tuple[tuple[str, "str | int | Sentence"], ...] = ()
    count: int | None = None


def sentence(key: str, count: int | None = None, /, **values: "str | int | Sentence") -> Sentence:
    """Return a sentence."""
    return Sentence(key, tuple(values.items()), count)


class Texts:
    """The sentences of one language, by dotted key. A missing key is an error of ours."""

    def __init__(self, language: str, sentences: Mapping[str, str]) -> None:
        self.language = language
        self.sentences = sentences

    def __call__(self, key: str, /, **values: object) -> str:
        """Return the sentence, with `values` filled in. A value is never read for braces."""
        return self.sentences[key].format(**values) if values else self.sentences[key]

    def has(self, key: str) -> bool:
        """Tell whether there is a sentence for `key`, as for a kind that we know by name."""
        return key in self.sentences

    def number(self, key: str, count: int, /, **values: object) -> str:
        """Return the sentence for one or for several."""
        return self(f"{key}.one" if count == 1 else f"{key}.other", count=count, **values)

    def say(self, said: Sentence) -> str:
        """Return a sentence in this language."""
        values = {
            name: self.say(value) if isinstance(value, Sentence) else value
            for name, value in said.values
        }
        if said.count is None:
            return self(said.key, **values)
        return self.number(said.key, said.count, **values)


@cache
def texts_of(language: str) -> Texts:
    """Return how a language in LANGUAGES describes a request."""
    source = files("bunker_core.describe") / "texts" / f"{language}.json"
    return Texts(language, json.loads(source.read_text(encoding="utf-8")))
