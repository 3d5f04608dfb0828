"""What tests of several packages share."""

import socket
from collections.abc import Iterator

import pytest

from _postgres import PostgresServer, running_postgres


@pytest.fixture(scope="session", autouse=True)
def _sessions_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what a client keeps out of the home of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUNKER_SESSIONS", str(tmp_path_factory.mktemp("sessions")))
        yield


@pytest.fixture
def dead_url() -> str:
    """A relay URL where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"ws://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server of this test process."""
    with running_postgres() as server:
        yield server
