"""How long a passphrase would withstand, in words that a person can judge by."""

from dataclasses import dataclass
from typing import Final

# One try of NIP-49 as we write it (scrypt, 64 MiB) takes a core some 0.2 s; a thief has a thousand.
_TRIES_A_SECOND: Final = 5_000.0
_WEAK: Final = 30 * 86_400.0  # seconds; less than a month is no lock
_UNITS: Final = (
    (365.25 * 86_400, "years"),
    (86_400.0, "days"),
    (3_600.0, "hours"),
    (60.0, "minutes"),
)
_AGES: Final = 1_000_000.0  # years


@dataclass(frozen=True, slots=True)
class Strength:
    """How long it takes on average to guess a passphrase, with the copy and a thousand cores."""

    seconds: float

    @property
    def weak(self) -> bool:
        return self.seconds < _WEAK

    def __str__(self) -> str:
        word = "Weak" if self.weak else "Strong enough"
        return f"{word}: guessed within {_time(self.seconds)} by a thousand computers."


def strength_of(passphrase: str) -> Strength:
    """Estimate it as zxcvbn does: by words, names, dates and keyboard patterns that people use."""
    from zxcvbn import zxcvbn

    guesses = float(zxcvbn(passphrase[:72])["guesses"])
    return Strength(guesses / _TRIES_A_SECOND)


def _time(seconds: float) -> str:
    for length, unit in _UNITS:
        if seconds >= 2 * length:
            number = seconds / length
            ages = unit == "years" and number > _AGES
            return "millions of years" if ages else f"{number:,.0f} {unit}"
    return "a minute"
