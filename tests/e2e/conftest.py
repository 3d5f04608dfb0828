"""Everything here is a program as a user starts it."""

from collections.abc import Iterator

import pytest

from support.forked import executed


@pytest.fixture(autouse=True)
def _executed_processes() -> Iterator[None]:
    """Start the relays and signers of the harness anew."""
    with executed():
        yield
