"""What a test needs of the machine: a skip for a developer, a failure where all must run."""

import os

import pytest


def need(condition: object, reason: str) -> None:
    """Skip the test unless `condition`; fail it instead when BUNKER_TEST_REQUIRE_ALL=1."""
    if condition:
        return
    if os.environ.get("BUNKER_TEST_REQUIRE_ALL") == "1":
        pytest.fail(f"needed here: {reason}", pytrace=False)
    pytest.skip(reason)
