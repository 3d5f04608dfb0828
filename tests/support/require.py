"""What a test needs of the machine: a skip for a developer, a failure where all must run."""

import os

import pytest

from bunker_core.keys import libsecp256k1


def need(condition: object, reason: str) -> None:
    """Skip the test unless `condition`; fail it instead when BUNKER_TEST_REQUIRE_ALL=1."""
    if condition:
        return
    if os.environ.get("BUNKER_TEST_REQUIRE_ALL") == "1":
        pytest.fail(f"needed here: {reason}", pytrace=False)
    pytest.skip(reason)


def need_libsecp256k1(binding: str) -> None:
    """Skip the test, or fail it, without this binding of libsecp256k1."""
    try:
        libsecp256k1.load(binding)
    except ImportError:
        need(False, f"libsecp256k1 by way of {binding} is not installed")
