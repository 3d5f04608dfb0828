"""A relay process for all tests of the signer: what they look at is the signer, not the relay."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from bunker.harness import running_relay


@pytest.fixture(scope="session")
def relay_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A relay's URL. Tests do not see each other on it: each has keys of its own."""
    data = tmp_path_factory.mktemp("relay")
    # All tests come from one address, and many of them.
    config = data / "relay.toml"
    much = "{ per_second = 1000, burst = 10000 }"
    config.write_text(f"[rates]\nconnections_per_ip = {much}\nrequests_per_ip = {much}\n")
    with asyncio.Runner() as runner:
        context = running_relay(data, arguments=["--config", str(config)])
        relay = runner.run(context.__aenter__())
        try:
            yield relay.url
        finally:
            runner.run(context.__aexit__(None, None, None))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data directory that does not exist yet."""
    return tmp_path / "signer"
