"""The extension's own sentences, beside those that it shares with the phone's page."""

import json
import re
from pathlib import Path

import pytest

from bunker_core.describe import LANGUAGES

EXTENSION = Path(__file__).parents[4] / "packages" / "client" / "extension"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_says_everything(language: str) -> None:
    """A sentence of English is in each language, with the same places to fill in."""
    english, other = (
        json.loads((EXTENSION / "texts" / f"{name}.json").read_text()) for name in ("en", language)
    )
    assert english.keys() == other.keys()
    for key, text in english.items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", other[key]))


def test_the_pages_have_every_language() -> None:
    """One that the phone's page offers and the extension has not would end its pages."""
    source = (EXTENSION / "pages" / "common.js").read_text()
    (own,) = re.findall(r"^const OWN = \{ (.*) \};$", source, re.MULTILINE)
    assert own.split(", ") == list(LANGUAGES)
    assert re.findall(r'^import (\w+) from "\.\./texts/\1\.json"', source, re.MULTILINE) == sorted(
        LANGUAGES
    )
