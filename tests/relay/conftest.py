"""What the relay's tests share."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bunker_relay.store.database.engine import Database
from support import wire
from support.wire import RelayProcess, Start, running_relay

if TYPE_CHECKING:
    from support.postgres import PostgresServer


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the conformance suite judge any relay."""
    parser.addoption(
        "--relay-url",
        metavar="URL",
        help="run tests/relay/conformance against this relay instead of our own",
    )
    parser.addoption(
        "--patience",
        type=float,
        metavar="SECONDS",
        help="how long to wait for what must come; 2 with --relay-url, as most that is missing then"
        " will not come",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Set how long a client of a test waits."""
    other = config.getoption("--relay-url", default=None)
    patience = config.getoption("--patience", default=None) or (2.0 if other else None)
    if patience is not None:
        wire.PATIENCE = patience


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """An empty database of either kind."""
    if request.param == "sqlite":
        return tmp_path / "relay.sqlite3"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.fresh_url()


@pytest.fixture
def stored(database: Database) -> str:
    """The configuration with which a relay in `tmp_path` has its events in `database`."""
    return "" if isinstance(database, Path) else f'database = "{database}"\n'


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a relay of our own: start(*flags, config=TOML). Stopped after the test.

    Forked, as it starts at once then; who looks at its memory says `forked=False`.
    """
    with ExitStack() as stack:
        count = 0

        def run(*flags: str, data: Path | None = None, **options: Any) -> RelayProcess:
            nonlocal count
            count += 1
            folder = data or tmp_path / f"relay-{count}"
            options = {"forked": True} | options
            return stack.enter_context(running_relay(folder, *flags, **options))

        yield run
