"""Every language says everything."""

import re
from pathlib import Path
from string import Formatter

import pytest

from bunker_core.describe import LANGUAGES
from bunker_core.describe import texts_of as description_texts
from bunker_signer import console
from bunker_signer.console.view.texts import choose, texts_of

CONSOLE = Path(console.__file__).parent
ENGLISH = texts_of("en").sentences
OWN = ENGLISH.keys() - description_texts("en").sentences.keys()


def fields(sentence: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(sentence) if name}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_is_whole(language: str) -> None:
    """The same keys, and the same values to fill in."""
    sentences = texts_of(language).sentences
    assert sentences.keys() == ENGLISH.keys()
    for key, sentence in sentences.items():
        assert fields(sentence) == fields(ENGLISH[key]), key
        assert sentence.strip() == sentence != ""


def test_templates_hold_no_sentence() -> None:
    """All text is in view/texts/: the templates have tags and names alone."""
    templates = list(CONSOLE.glob("templates/**/*.html"))
    assert templates
    for template in templates:
        text = template.read_text()
        text = re.sub(r"{% block (title|body_class) %}\w+{% endblock %}", "", text)
        text = re.sub(r"{%.*?%}|{{.*?}}|{#.*?#}", "", text, flags=re.DOTALL)
        text = re.sub(r"<code[^>]*>bunker [a-z ]+</code>", "", text)  # to be typed as it is
        text = re.sub(r"<[^>]*>", " ", text)
        assert re.findall(r"[A-Za-z]{2,}", text) == [], template.name


def test_every_sentence_is_used() -> None:
    """A sentence that nothing shows is gone from the files."""
    sources = "".join(
        path.read_text() for kind in ("*.py", "*.html") for path in CONSOLE.rglob(kind)
    )
    literal = set(re.findall(r"[\"']([a-z]+\.[a-z0-9_-]+)[\"']", sources))
    # Keys that are put together: a kind, a state, an outcome, ...
    prefixes = tuple(set(re.findall(r"[\"'](\w+\.(?:\w+_)?)(?:{|[\"'] ~)", sources)))
    numbered = {key.rpartition(".")[0] for key in ENGLISH if key.endswith((".one", ".other"))}
    unused = [
        key
        for key in OWN
        if key not in literal
        and not key.startswith(prefixes)
        and key.rpartition(".")[0] not in numbered
    ]
    assert unused == []


@pytest.mark.parametrize(
    ("wanted", "accepted", "language"),
    [
        (None, "de-AT,de;q=0.9,en;q=0.8", "de"),
        (None, "eo,de;q=0.5", "de"),
        (None, "eo", "en"),
        (None, "", "en"),
        ("en", "de", "en"),
        ("../../etc", "de", "de"),
    ],
)
def test_the_language_is_the_owners(wanted: str | None, accepted: str, language: str) -> None:
    """Their choice first, then their browser's, then English."""
    assert choose(wanted, accepted).language == language


def test_a_value_is_not_a_template() -> None:
    """A name with braces is shown with braces."""
    assert "{0.__class__}" in texts_of("en")("over.allowed", by="{0.__class__}")
