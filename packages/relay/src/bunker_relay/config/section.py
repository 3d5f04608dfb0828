"""What a part of the configuration is: a frozen dataclass that looks at its values when it is made.

They come as they stand in a TOML file, a variable or a flag, and are what the annotations say from
then on. All that is wrong is said at once. pydantic does the same and more; at rest it takes eleven
of a relay's fifty megabytes, and a fifth of its start. The light ones were tried: msgspec (1.1 MiB)
says the first mistake alone and takes neither `on` nor a list with commas; attrs with cattrs (2.0)
does not say which key is out of bounds. What they could do is a quarter of this file.
"""

from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import MISSING, dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Self, get_args, get_origin, get_type_hints

_YES: Final = ("true", "1", "yes", "on")
_NO: Final = ("false", "0", "no", "off")
_ALLOWED: Final = "allowed"


@dataclass(frozen=True, slots=True)
class Allowed:
    """Which values a setting may have: a number's bounds, the length of a text in characters."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    max_length: int | None = None

    def check(self, value: object) -> None:
        """Raise ValueError for a value outside; a NaN is."""
        if isinstance(value, str):
            if self.max_length is not None and len(value) > self.max_length:
                raise ValueError(f"longer than {self.max_length} characters")
        elif isinstance(value, int | float):
            if (self.ge is not None and not value >= self.ge) or (
                self.gt is not None and not value > self.gt
            ):
                raise ValueError("too small")
            if self.le is not None and not value <= self.le:
                raise ValueError("too large")

    def __str__(self) -> str:
        if self.max_length is not None:
            return f"up to {self.max_length} characters"
        low = f"over {self.gt}" if self.gt is not None else f"{self.ge}"
        return "" if self.le is None else f"{low} to {self.le}"


@dataclass(frozen=True, slots=True)
class Text:
    """How a text is read: `parse` returns what is kept and raises ValueError; `shown`, printed."""

    parse: Callable[[str], str]
    shown: Callable[[str], str] = str


def setting(
    default: Any = MISSING,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    max_length: int | None = None,
    repr: bool = True,  # noqa: A002 -- as dataclasses.field calls it
) -> Any:
    """Return a field of a Section, with what is allowed in it."""
    allowed = Allowed(ge, gt, le, max_length)
    return field(default=default, repr=repr, metadata={_ALLOWED: allowed})


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong: where, what stands there, and why it can't be."""

    path: tuple[str, ...]  # empty: of the whole
    value: object
    reason: str
    allowed: str = ""


class InvalidSection(ValueError):
    """Values that a Section does not take: `mistakes`, each of them."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes: Final = tuple(mistakes)
        super().__init__(self.mistakes)

    def __str__(self) -> str:
        # Without the values: one may be a password, or a key that was pasted by mistake.
        return "; ".join(
            f"{'.'.join(item.path)}: {item.reason}" if item.path else item.reason
            for item in self.mistakes
        )


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of a section: its type, what is allowed, its default (MISSING without one)."""

    kind: Any
    optional: bool
    many: bool  # a tuple of `kind`
    text: Text | None
    allowed: Allowed
    default: Any

    def read(self, value: Any) -> Any:
        """Return `value` as the type it is kept in; raises ValueError, a table InvalidSection."""
        if value is None and self.optional:
            return None
        if not self.many:
            return self._one(value)
        if isinstance(value, str):  # a variable, where a list is written with commas
            value = [item.strip() for item in value.split(",") if item.strip()]
        if not isinstance(value, list | tuple):
            raise ValueError("not a list")
        return tuple(map(self._one, value))

    def range(self) -> str:
        """Return what is allowed, in words; "" for anything."""
        if issubclass(self.kind, StrEnum):
            return ", ".join(self.kind)
        return str(self.allowed)

    def _one(self, value: Any) -> Any:
        if issubclass(self.kind, Section):
            if isinstance(value, self.kind):
                return value
            if not isinstance(value, Mapping):
                raise ValueError("not a table")
            return self.kind.of(value, None if self.default is MISSING else self.default)
        found = _READ[StrEnum if issubclass(self.kind, StrEnum) else self.kind](self.kind, value)
        if self.text is not None:
            found = self.text.parse(found)
        self.allowed.check(found)
        return found


class Section:
    """The parent of each part. A child is a dataclass, frozen and of keywords alone."""

    given: frozenset[str] = frozenset()  # the keys that `of` was given; not a field

    @classmethod
    def of(cls, values: Mapping[str, Any], base: Self | None = None) -> Self:
        """Return a section of what a file or variables hold; what is left out is as in `base`.

        Raises InvalidSection, also for a key that there is not.
        """
        known = settings(cls)
        mistakes = [Mistake((key,), None, "no such key") for key in values if key not in known]
        taken = {} if base is None else {key: getattr(base, key) for key in known}
        taken |= {key: value for key, value in values.items() if key in known}
        missing = [key for key, item in known.items() if item.default is MISSING]
        mistakes += [Mistake((key,), None, "has to be set") for key in missing if key not in taken]
        try:
            made = cls(**taken) if not any(key not in taken for key in missing) else None
        except InvalidSection as error:
            raise InvalidSection([*mistakes, *error.mistakes]) from None
        if made is None or mistakes:
            raise InvalidSection(mistakes)
        object.__setattr__(made, "given", frozenset(values))
        return made

    def __post_init__(self) -> None:
        """Read every value, then see whether they go together. Raises InvalidSection."""
        mistakes: list[Mistake] = []
        for name, item in settings(type(self)).items():
            try:
                object.__setattr__(self, name, item.read(getattr(self, name)))
            except InvalidSection as error:
                mistakes += [
                    replace(found, path=(name, *found.path)) if found.path else found
                    for found in error.mistakes
                ]
            except ValueError as error:
                mistakes.append(Mistake((name,), getattr(self, name), str(error), item.range()))
        if not mistakes:
            try:
                self.check()
            except ValueError as error:
                mistakes.append(Mistake((), None, str(error)))
        if mistakes:
            raise InvalidSection(mistakes)

    def check(self) -> None:
        """Raise ValueError where values do not go together."""

    def but(self, **values: Any) -> Self:
        """Return a copy with values of other sections in it; they are not looked at again."""
        made = copy(self)
        for name, value in values.items():
            object.__setattr__(made, name, value)
        return made

    def to_values(self) -> dict[str, Any]:
        """Return the values as TOML and JSON have them; a password is hidden."""
        return {
            name: _plain(item, getattr(self, name)) for name, item in settings(type(self)).items()
        }


_SETTINGS: Final[dict[type[Section], dict[str, Setting]]] = {}


def settings(section: type[Section]) -> dict[str, Setting]:
    """Return the keys of a section, in their order."""
    found = _SETTINGS.get(section)
    if found is None:
        found = _SETTINGS[section] = _settings(section)
    return found


def _settings(section: type[Section]) -> dict[str, Setting]:
    hints = get_type_hints(section, include_extras=True)
    return {
        item.name: _setting(hints[item.name], item.metadata.get(_ALLOWED, Allowed()), item.default)
        for item in fields(section)  # type: ignore[arg-type]  # each child is a dataclass
    }


def _setting(hint: Any, allowed: Allowed, default: Any) -> Setting:
    many = optional = False
    text: Text | None = None
    while True:
        if get_origin(hint) is Annotated:
            hint, *more = get_args(hint)
            text = next((item for item in more if isinstance(item, Text)), text)
            allowed = next((item for item in more if isinstance(item, Allowed)), allowed)
        elif get_origin(hint) is tuple:
            many, hint = True, get_args(hint)[0]
        elif isinstance(hint, UnionType) or NoneType in get_args(hint):
            optional, (hint,) = True, tuple(item for item in get_args(hint) if item is not NoneType)
        else:
            return Setting(hint, optional, many, text, allowed, default)


def _text(_kind: Any, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")
    if any("\ud800" <= character <= "\udfff" for character in value):  # bytes of a variable
        raise ValueError("not UTF-8")
    return value


def _path(_kind: Any, value: Any) -> Path:
    if not isinstance(value, str | Path):
        raise ValueError("not a path")
    return Path(value)


def _whole(_kind: Any, value: Any) -> int:
    if isinstance(value, str | int) and not isinstance(value, bool):
        try:
            return int(value)
        except ValueError:
            pass
    raise ValueError("not a whole number")


def _number(_kind: Any, value: Any) -> float:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    raise ValueError("not a number")


def _truth(_kind: Any, value: Any) -> bool:
    word = str(value).lower()
    if word not in (*_YES, *_NO):
        raise ValueError("neither true nor false")
    return word in _YES


def _word(kind: Any, value: Any) -> Any:
    try:
        return kind(value)
    except ValueError:
        raise ValueError("none of these") from None


_READ: Final[dict[type, Callable[[Any, Any], Any]]] = {
    str: _text,
    Path: _path,
    int: _whole,
    float: _number,
    bool: _truth,
    StrEnum: _word,
}


def _plain(item: Setting, value: Any) -> Any:
    if isinstance(value, Section):
        return value.to_values()
    if isinstance(value, tuple):
        return [_plain(item, one) for one in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, StrEnum):
        return value.value
    return item.text.shown(value) if item.text is not None and value is not None else value
