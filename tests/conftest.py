"""What tests of several packages share."""

import gc
import importlib
import os
import signal
import socket
import sys
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from support.forked import forked
from support.postgres import PostgresServer, running_postgres

# A busy machine is slow, not wrong: time is no part of any property here.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

WORKERS_PER_CORE = 2.5  # most tests wait for another process more than they work
COMPUTING = 2  # of five workers; the others begin with what waits longest
TEST_LIMIT = 300  # seconds for one test with what it starts; the longest takes a third of it
MAX_WORKERS = 16  # each has its own relays, signers and browsers
# Rooms whose files wait more than they compute: for browsers, processes and other libraries. The
# longest files are begun first.
SLOW_ROOMS = (
    *("interop", "docs", "phone", "signer/console", "client/nip07"),
    *("bunker", "deploy", "e2e", "client"),
)


@pytest.hookimpl(optionalhook=True)  # also without pytest-xdist
def pytest_xdist_auto_num_workers() -> int:
    """Say how many tests `-n auto` runs at once."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(MAX_WORKERS, int(WORKERS_PER_CORE * (cores or 1)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Have two workers of five begin with what is not slow, and one run all of interop.

    What waits and what computes keep the processors busy together, which neither does alone. The
    files of interop start a dozen libraries each, in real time.
    """
    if config.getoption("dist") != "loadfile":
        return None
    scheduling: Any = importlib.import_module("xdist.scheduler").LoadFileScheduling(config, log)
    file_of, assign = scheduling._split_scope, scheduling._assign_work_unit

    def assign_from_either_end(node: Any) -> None:
        if int(node.gateway.id.removeprefix("gw")) % 5 < COMPUTING:
            scheduling.workqueue.move_to_end(next(reversed(scheduling.workqueue)), last=False)
        assign(node)

    scheduling._assign_work_unit = assign_from_either_end
    scheduling._split_scope = lambda nodeid: (
        "tests/interop" if nodeid.startswith("tests/interop/") else file_of(nodeid)
    )
    return scheduling


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Have a test that hangs fail, and say where, instead of holding up all the others."""
    if not hasattr(signal, "SIGALRM"):
        return (yield)

    def late(_signal: int, _frame: object) -> None:
        raise TimeoutError(f"{item.nodeid} has not ended within {TEST_LIMIT} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(TEST_LIMIT)
    try:
        return (yield)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage while modules and tests come up, and look at none of them later.

    Each worker has all of them: a sixth of the time that it takes to load them.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        if sys.version_info < (3, 14):  # where Hypothesis asks the collector who holds what
            gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what is slow first; otherwise the order stays."""

    def place(item: pytest.Item) -> int:
        room = item.nodeid.removeprefix("tests/")
        places = (at for at, slow in enumerate(SLOW_ROOMS) if room.startswith(f"{slow}/"))
        return next(places, len(SLOW_ROOMS))

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def _sessions_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what a client keeps out of the home of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUNKER_SESSIONS", str(tmp_path_factory.mktemp("sessions")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _forked_processes() -> Iterator[None]:
    """Fork the relays and signers of the harness: most tests start some."""
    with forked():
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
