"""The one way for a test to say that this machine lacks what it needs."""

import os
from typing import NoReturn

import pytest

REQUIRE_ALL = "BUNKER_TEST_REQUIRE_ALL"


def need(condition: object, reason: str) -> None:
    """Go on if `condition` holds; otherwise skip, or fail where everything must be there (CI)."""
    if not condition:
        missing(reason)


def missing(reason: str) -> NoReturn:
    """Skip because of `reason`; fail instead when BUNKER_TEST_REQUIRE_ALL is 1."""
    if os.environ.get(REQUIRE_ALL) == "1":
        pytest.fail(f"missing here: {reason}")
    pytest.skip(f"missing here: {reason}")
