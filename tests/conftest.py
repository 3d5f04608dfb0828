"""What tests of several packages share."""

import socket

import pytest


@pytest.fixture
def dead_url() -> str:
    """A relay URL where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"ws://127.0.0.1:{free.getsockname()[1]}"
