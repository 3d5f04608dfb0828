"""kinds.py: what a relay does with each kind."""

import pytest
from hypothesis import given

from bunker_core import kinds
from bunker_core.kinds import Storage, storage
from support.strategies import KINDS


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (0, Storage.REPLACEABLE),
        (1, Storage.REGULAR),
        (2, Storage.REGULAR),
        (3, Storage.REPLACEABLE),
        (4, Storage.REGULAR),
        (44, Storage.REGULAR),
        (1000, Storage.REGULAR),
        (9999, Storage.REGULAR),
        (10000, Storage.REPLACEABLE),
        (19999, Storage.REPLACEABLE),
        (20000, Storage.EPHEMERAL),
        (kinds.CLIENT_AUTH, Storage.EPHEMERAL),
        (kinds.NOSTR_CONNECT, Storage.EPHEMERAL),
        (29999, Storage.EPHEMERAL),
        (30000, Storage.ADDRESSABLE),
        (39999, Storage.ADDRESSABLE),
        (40000, Storage.REGULAR),
        (65535, Storage.REGULAR),
    ],
)
def test_the_ranges_of_nip01(kind: int, expected: Storage) -> None:
    """Both ends of every range of NIP-01 are kept as it says."""
    assert storage(kind) is expected


@given(KINDS)
def test_is_ephemeral_agrees_with_storage(kind: int) -> None:
    """The short question has the same answer as the long one."""
    assert kinds.is_ephemeral(kind) is (storage(kind) is Storage.EPHEMERAL)
