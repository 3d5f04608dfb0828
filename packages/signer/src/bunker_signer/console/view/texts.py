"""Every sentence that the console shows, by language: `texts/<language>.toml`."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

LANGUAGES: Final = ("en", "de")
DEFAULT: Final = LANGUAGES[0]


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

    def number(self, key: str, count: int, **values: object) -> str:
        """Return the sentence for one or for several."""
        return self(f"{key}.one" if count == 1 else f"{key}.other", count=count, **values)


@cache
def texts_of(language: str) -> Texts:
    """Return the sentences of a language in LANGUAGES."""
    source = files("bunker_signer.console") / "texts" / f"{language}.toml"
    return Texts(language, dict(_flat("", tomllib.loads(source.read_text(encoding="utf-8")))))


def choose(wanted: str | None, accepted: str) -> Texts:
    """Return the language that the owner chose, else the browser's first that we have."""
    if wanted in LANGUAGES:
        return texts_of(wanted)
    for entry in accepted.split(","):
        code = entry.split(";")[0].strip().lower().split("-")[0]
        if code in LANGUAGES:
            return texts_of(code)
    return texts_of(DEFAULT)


def _flat(prefix: str, table: Mapping[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            found += _flat(f"{prefix}{key}.", value)
        else:
            found.append((f"{prefix}{key}", str(value)))
    return found
