"""One case of the kit: what is sent, what is expected, and how a verdict is reached."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from types import ModuleType
from typing import Any

from bunker.conformance.wire.trace import TracedMessage


class Level(StrEnum):
    """How much is asked, in the words of RFC 2119."""

    MUST = "must"
    SHOULD = "should"
    MAY = "may"


class Verdict(StrEnum):
    """What became of a case."""

    PASS = "pass"  # noqa: S105 -- no password
    FAIL = "fail"
    HANGS = "hangs"  # nothing came in the time that the case waits
    NOT_OFFERED = "not offered"  # optional, and said to be missing instead of done wrongly
    NOT_RUN = "not run"  # the run was not given what the case needs


class Outcome(Exception):
    """How a check ends when it is not a pass. The text is one sentence for a reader."""

    verdict = Verdict.FAIL


class Failed(Outcome):
    """What came is not what is expected."""


class Silence(Outcome):
    """What has to come did not come."""

    verdict = Verdict.HANGS

    def __init__(self, awaited: str, seconds: float) -> None:
        super().__init__(awaited, seconds)
        self.awaited = awaited
        self.seconds = seconds

    def __str__(self) -> str:
        return f"no {self.awaited} within {self.seconds:g} s"


class NotOffered(Outcome):
    """The target says that it has not what the case asks for, which it may."""

    verdict = Verdict.NOT_OFFERED


class NotRun(Outcome):
    """The run was not given what the case needs."""

    verdict = Verdict.NOT_RUN


Check = Callable[[Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Case:
    """A check with its grounds. `id` never changes its meaning: others refer to it."""

    id: str
    level: Level
    source: str  # NIP and paragraph, or the practice that it is learned from
    expected: str
    sent: str
    check: Check = field(repr=False)
    alone: bool = False  # not beside other cases: it loads or restarts the target
    keyless: bool = False  # asks a signer for nothing that opens its key

    @property
    def kind(self) -> str:
        """What is judged: relay, signer or client."""
        return self.id.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Result:
    """The verdict of one case with what led to it."""

    case: Case
    verdict: Verdict
    reason: str  # empty for a pass
    seconds: float
    trace: tuple[TracedMessage, ...]

    @property
    def convicts(self) -> bool:
        """Whether the target did something wrong."""
        return self.verdict in (Verdict.FAIL, Verdict.HANGS)


def case(
    name: str, level: Level, source: str, *, alone: bool = False, keyless: bool = False
) -> Callable[[Check], Case]:
    """Make a function the check of the case `name`.

    Its docstring says what is expected, and after "Sent:" what is sent.
    """

    def make(check: Check) -> Case:
        expected, _, sent = (check.__doc__ or "").partition("Sent:")
        return Case(
            name, level, source, " ".join(expected.split()), " ".join(sent.split()), check,
            alone, keyless,
        )  # fmt: skip

    return make


def cases_in(chapters: tuple[ModuleType, ...]) -> tuple[Case, ...]:
    """Return the cases of some chapters, in the order of their files; raises ValueError."""
    found = [
        item for chapter in chapters for item in vars(chapter).values() if isinstance(item, Case)
    ]
    if len({item.id for item in found}) != len(found):
        raise ValueError("two cases have one id")
    return tuple(found)


def expect(condition: object, reason: str) -> None:
    """Raise Failed with `reason` unless `condition` holds."""
    if not condition:
        raise Failed(reason)
