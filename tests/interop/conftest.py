"""Interop: the matrix at the end of the run."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from interop.peers import NOT_OFFERED, OK, OPERATIONS, Row

_PROPERTY = "interop"


@pytest.fixture
def row(record_property: Callable[[str, object], None]) -> Iterator[Row]:
    """A line of the matrix, shown at the end whether the test passes or fails."""
    line = Row("")
    yield line
    # by way of the report, so that it arrives from a worker of pytest-xdist too
    record_property(_PROPERTY, json.dumps([line.name, line.outcomes]))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print every operation of every pair, and the reason of what failed."""
    lines: list[tuple[str, dict[str, str]]] = [
        json.loads(value)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "teardown"
        for name, value in report.user_properties
        if name == _PROPERTY
    ]
    if not lines:
        return
    marks = {OK: "ok", NOT_OFFERED: "-"}
    terminalreporter.section("interop matrix")
    for number, (name, _) in enumerate(lines, 1):
        terminalreporter.write_line(f"{number:>3}  {name}")
    terminalreporter.write_line("")
    numbers = "".join(f"{number:>6}" for number in range(1, len(lines) + 1))
    terminalreporter.write_line(f"{'':<16}{numbers}")
    for operation in OPERATIONS:
        cells = (outcomes.get(operation, "") for _, outcomes in lines)
        shown = "".join(f"{marks.get(cell, 'FAIL' if cell else '?'):>6}" for cell in cells)
        terminalreporter.write_line(f"{operation:<16}{shown}")
    terminalreporter.write_line("- not offered by the library   ? not reached")
    for name, outcomes in lines:
        for operation, outcome in outcomes.items():
            if outcome not in marks:
                terminalreporter.write_line(f"{name}: {operation}: {outcome}")
