"""What the tests of faults print."""

from collections.abc import Iterator

import pytest

from client.request._faults import ROWS


@pytest.fixture(scope="module", autouse=True)
def table(request: pytest.FixtureRequest) -> Iterator[None]:
    """Print the matrix of faults when its last row is done."""
    ROWS.clear()
    yield
    if not ROWS:
        return
    lines = [f"{'fault':<58} {'outcome':<20} {'time':>7}"]
    lines += [f"{fault:<58} {outcome:<20} {seconds:5.2f} s" for fault, outcome, seconds in ROWS]
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n" + "\n".join(lines))
