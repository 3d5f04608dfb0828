"""NIP-13: work, and what an event commits itself to."""

import pytest

from bunker_core.event import Event
from bunker_core.nips.nip13 import difficulty, refusal

WORKED = "000000000e9d97a1ab09fc381030b346cdd7a142ad57e6df0b46dc9bef6c7e2d"  # NIP-13's own


def _event(*nonce: str) -> Event:
    return Event(WORKED, "a" * 64, 1, 1, (("nonce", *nonce),), "", "b" * 128)


def test_the_work_of_an_id() -> None:
    """Leading zero bits, as in NIP-13's example."""
    assert difficulty(WORKED) == 36
    assert difficulty("002f" + "0" * 60) == 10


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("20", ""),
        ("256", ""),
        ("19", "pow: committed difficulty 19 is less than 20"),
        ("9" * 4_301, "pow: committed difficulty 0 is less than 20"),
        ("\u0662\u0660", "pow: committed difficulty 0 is less than 20"),
        ("", "pow: committed difficulty 0 is less than 20"),
    ],
)
def test_a_commitment_is_a_number_of_bits(target: str, reason: str) -> None:
    """Digits without end are no number, and no exception either."""
    assert refusal(_event("776797", target), 20) == reason
