"""The relay under test: one process for the whole suite, or any relay by --relay-url."""

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import httpx
import pytest

from bunker_core.keys import SecretKey
from support.wire import Peer, RelayProcess, running_relay

if TYPE_CHECKING:
    from support.postgres import PostgresServer

# So generous that no test of something else meets a rate limit.
CONFIG = """
[rates]
events_per_ip = {per_second = 100000, burst = 100000}
events_per_pubkey = {per_second = 100000, burst = 100000}
signing_per_ip = {per_second = 100000, burst = 100000}
signing_per_pubkey = {per_second = 100000, burst = 100000}
strangers_per_ip = {per_second = 100000, burst = 100000}
queries_per_ip = {per_second = 100000, burst = 100000}
connections_per_ip = {per_second = 100000, burst = 100000}
requests_per_ip = {per_second = 100000, burst = 100000}
[limits]
max_offences = 1000
"""


_WAYS = {
    "fast": "",  # the fast path, from socket to protocol
    "plain": "plain = true",  # as an ordinary ASGI application
    "workers": "workers = 2",  # whoever is on one hears those on the other
    "postgres": 'workers = 2\ndatabase = "{postgres}"',
}


# What the database has a part in, and so what is run on PostgreSQL too.
_STORED = {"test_nip01", "test_nip09_40_45", "test_hostile_events", "test_hostile_filters"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every test in each way that could make a difference to it."""
    if "own_relay" in metafunc.fixturenames:
        stored = metafunc.module.__name__.rpartition(".")[2] in _STORED
        ways = [way for way in _WAYS if stored or way != "postgres"]
        metafunc.parametrize("own_relay", ways, indirect=True, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run every hostile case in one way, and in each of the others one row of a kind.

    What is hostile is refused by the parts that all ways share; a row shows that they do.
    """
    seen: set[tuple[str, str]] = set()
    kept: list[pytest.Item] = []
    for item in items:
        call = getattr(item, "callspec", None)
        way = call.params.get("own_relay", "") if call else ""
        if "test_hostile_" in item.nodeid and "/conformance/" in item.nodeid and way != "fast":
            kind = (item.nodeid.partition("[")[0], str(way))
            if kind in seen:
                continue
            seen.add(kind)
        kept.append(item)
    chosen = set(kept)
    gone = [item for item in items if item not in chosen]
    if gone:
        config.hook.pytest_deselected(items=gone)
        items[:] = kept


@pytest.fixture(scope="session")
def relays(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], RelayProcess]]:
    """Start a relay with a configuration when it is first asked for; all run to the end."""
    running: dict[str, RelayProcess] = {}
    with ExitStack() as stack:

        def relay(config: str) -> RelayProcess:
            if config not in running:
                data = tmp_path_factory.mktemp("relay") / "data"
                running[config] = stack.enter_context(running_relay(data, config=config))
            return running[config]

        yield relay


@pytest.fixture(scope="session")
def own_relay(
    request: pytest.FixtureRequest, relays: Callable[[str], RelayProcess]
) -> RelayProcess | None:
    """Our relay, or None when another is judged."""
    if request.config.getoption("--relay-url", default=None):
        if request.param != "fast":
            pytest.skip("another relay has one way, and is judged once")
        return None
    way = _WAYS[request.param]
    if "{postgres}" in way:
        server: PostgresServer = request.getfixturevalue("postgres")
        way = way.replace("{postgres}", _schema(server))
    return relays(f"{way}\n{CONFIG}")


@functools.cache
def _schema(server: "PostgresServer") -> str:
    return server.fresh_url()


@pytest.fixture
def own(own_relay: RelayProcess | None) -> RelayProcess:
    """Our relay; the test is skipped for another, into whose process it can't look."""
    if own_relay is None:
        pytest.skip("needs the relay's own process or configuration")
    return own_relay


@pytest.fixture(scope="session")
def relay_url(request: pytest.FixtureRequest, own_relay: RelayProcess | None) -> str:
    """The address of the relay under test."""
    if own_relay is not None:
        return own_relay.url
    return str(request.config.getoption("--relay-url"))


@pytest.fixture
async def peer(relay_url: str) -> AsyncIterator[Peer]:
    """A client of the relay under test."""
    async with Peer(relay_url) as peer:
        yield peer


@pytest.fixture
async def other(relay_url: str) -> AsyncIterator[Peer]:
    """A second client."""
    async with Peer(relay_url) as peer:
        yield peer


@pytest.fixture
def key() -> SecretKey:
    """A fresh key: nothing of it is on the relay."""
    return SecretKey.generate()


@pytest.fixture(scope="session")
def limitation(relay_url: str) -> dict[str, int]:
    """The limits of the relay's own document (NIP-11)."""
    url = relay_url.replace("ws://", "http://").replace("wss://", "https://")
    reply = httpx.get(url, headers={"Accept": "application/nostr+json"})
    found = reply.json().get("limitation") if reply.status_code == 200 else None
    if not found:
        pytest.skip("the relay publishes no limits")
    return dict(found)
