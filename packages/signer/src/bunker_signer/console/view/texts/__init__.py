"""Every sentence that the console shows, by language: `<language>.toml` beside this file.

What a request is described by lies in core, where every approver finds it.
"""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

from bunker_core.describe import LANGUAGES, Texts
from bunker_core.describe import texts_of as description_texts

DEFAULT: Final = LANGUAGES[0]


@cache
def texts_of(language: str) -> Texts:
    """Return the sentences of a language in LANGUAGES."""
    source = files(__name__) / f"{language}.toml"
    own = dict(_flat("", tomllib.loads(source.read_text(encoding="utf-8"))))
    return Texts(language, {**description_texts(language).sentences, **own})


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
