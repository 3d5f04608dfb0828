"""A section of the configuration: what it takes, and what it says of all that is wrong."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest

from bunker_relay.config.section import (
    Allowed,
    InvalidSection,
    Mistake,
    Section,
    Text,
    setting,
    settings,
)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


def _lower(text: str) -> str:
    if not text.isalpha():
        raise ValueError("not letters")
    return text.lower()


@dataclass(frozen=True, kw_only=True)
class Inner(Section):
    least: int = setting(ge=1)
    most: int = setting(ge=1, le=9)

    def check(self) -> None:
        if self.least > self.most:
            raise ValueError("inner.least is over inner.most")


@dataclass(frozen=True, kw_only=True)
class Outer(Section):
    count: int = setting(1, ge=0, le=10)
    share: float = setting(0.5, gt=0, le=1)
    name: str = setting("", max_length=3)
    word: Annotated[str, Text(_lower, lambda text: "*" * len(text))] | None = None
    words: tuple[Annotated[str, Text(_lower)], ...] = ()
    small: Annotated[int, Allowed(ge=0, le=3)] = 0
    colour: Colour = Colour.RED
    folder: Path = Path("here")
    on: bool = False
    inner: Inner = Inner(least=1, most=5)


@pytest.mark.parametrize(
    ("key", "given", "kept"),
    [
        ("count", "7", 7),
        ("share", "0.25", 0.25),
        ("share", 1, 1.0),
        ("name", "äöü", "äöü"),
        ("word", "ABC", "abc"),
        ("word", None, None),
        ("words", "A, b,", ("a", "b")),
        ("words", ["A"], ("a",)),
        ("colour", "blue", Colour.BLUE),
        ("folder", "there", Path("there")),
        ("on", "Yes", True),
        ("on", 0, False),
        ("inner", {"most": 9}, Inner(least=1, most=9)),
    ],
)
def test_a_value_is_kept_in_the_type_of_its_key(key: str, given: Any, kept: object) -> None:
    """A variable's text, TOML's values and Python's own give the same."""
    found = getattr(Outer.of({key: given}), key)
    assert (found, type(found)) == (kept, type(kept))
    assert getattr(Outer(**{key: given}), key) == kept


@pytest.mark.parametrize(
    ("key", "given", "words"),
    [
        ("count", 11, "too large"),
        ("count", -1, "too small"),
        ("count", "x", "whole number"),
        ("count", 1.5, "whole number"),
        ("count", True, "whole number"),
        ("count", None, "whole number"),
        ("share", 0, "too small"),
        ("share", "nan", "too small"),
        ("share", float("inf"), "too large"),
        ("share", 10**400, "not a number"),
        ("share", False, "not a number"),
        ("name", "abcd", "longer than 3"),
        ("name", 5, "not a text"),
        ("word", "4", "not letters"),
        ("words", 4, "not a list"),
        ("words", ["a", 4], "not a text"),
        ("small", 4, "too large"),
        ("colour", "green", "none of these"),
        ("folder", 4, "not a path"),
        ("on", "maybe", "neither"),
        ("inner", 4, "not a table"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_key(
    key: str, given: object, words: str
) -> None:
    """Whether it comes from a file or from a caller; the text itself repeats no value."""
    values: dict[str, Any] = {key: given}
    for make in (Outer.of, lambda found: Outer(**found)):
        with pytest.raises(InvalidSection, match=words) as error:
            make(values)
        (mistake,) = error.value.mistakes
        assert (mistake.path, mistake.value) == ((key,), given)
        assert mistake.allowed == settings(Outer)[key].range()


def test_all_that_is_wrong_is_said_at_once() -> None:
    """Unknown keys, wrong values, and those of a table within."""
    with pytest.raises(InvalidSection) as error:
        Outer.of({"nmae": 1, "count": -1, "inner": {"most": 0, "x": 1}, "on": "?"})
    assert [mistake.path for mistake in error.value.mistakes] == [
        ("nmae",),
        ("count",),
        ("on",),
        ("inner", "x"),
        ("inner", "most"),
    ]
    assert settings(Outer)["count"].range() == "0 to 10"
    assert settings(Outer)["share"].range() == "over 0 to 1"
    assert settings(Outer)["colour"].range() == "red, blue"


def test_values_that_do_not_go_together_are_of_no_key() -> None:
    """They are looked at once each is good by itself."""
    whole = [Mistake((), None, "inner.least is over inner.most")]
    for inner in ({"least": 7}, {"least": 3, "most": 2}):
        with pytest.raises(InvalidSection) as error:
            Outer.of({"inner": inner})
        assert list(error.value.mistakes) == whole


def test_a_key_without_a_default_has_to_be_set() -> None:
    """Unless a default of the table around it has it."""
    assert Outer.of({"inner": {"least": 2}}).inner == Inner(least=2, most=5)
    with pytest.raises(InvalidSection, match="most: has to be set"):
        Inner.of({"least": 1})


def test_what_was_given_is_known_and_a_copy_is_not_looked_at_again() -> None:
    """A default that was written out is told from one that was not."""
    outer = Outer.of({"count": 1})
    assert outer.given == {"count"}
    assert Outer().given == frozenset()
    assert outer == Outer()
    assert outer.but(count=99).count == 99
    assert outer.count == 1


def test_a_section_is_printed_as_toml_has_it() -> None:
    """Plain values; a text is shown as its key wants it."""
    values = Outer(word="abc", colour=Colour.BLUE, words=("a",)).to_values()
    assert values["word"] == "***"
    assert values["colour"] == "blue"
    assert values["words"] == ["a"]
    assert values["folder"] == "here"
    assert values["inner"] == {"least": 1, "most": 5}
