"""Interop: the matrices at the end of the run."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import pytest

from interop.peers import NOT_OFFERED, OK, Row

_PROPERTY = "interop"
_MARKS = {OK: "ok", NOT_OFFERED: "-"}


@pytest.fixture
def row(record_property: Callable[[str, object], None]) -> Iterator[Row]:
    """A line of the matrix, shown at the end whether the test passes or fails."""
    line = Row("")
    yield line
    # by way of the report, so that it arrives from a worker of pytest-xdist too
    record_property(_PROPERTY, json.dumps(asdict(line)))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print every operation of every pair, the texts of refusals, and the reason of what failed.

    Once: the tests of the phone have their lines in the matrix too, and may run without these.
    """
    if vars(terminalreporter).get("interop_matrix"):  # two conftest.py have this hook
        return
    terminalreporter.interop_matrix = True
    rows = [
        Row(**json.loads(value))
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "teardown"
        for name, value in report.user_properties
        if name == _PROPERTY
    ]
    tables: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        tables.setdefault(tuple(row.operations), []).append(row)
    for operations, lines in tables.items():
        terminalreporter.section("interop matrix")
        for text in _table(operations, lines):
            terminalreporter.write_line(text)


def _table(operations: tuple[str, ...], rows: list[Row]) -> Iterator[str]:
    for number, row in enumerate(rows, 1):
        yield f"{number:>3}  {row.name}"
    yield ""
    yield " " * 16 + "".join(f"{number:>6}" for number in range(1, len(rows) + 1))
    for operation in operations:
        cells = (row.outcomes.get(operation, "") for row in rows)
        shown = "".join(f"{_MARKS.get(cell, 'FAIL' if cell else '?'):>6}" for cell in cells)
        yield f"{operation:<16}{shown}"
    yield "- not offered by the library   ? not reached"
    for row in rows:
        for operation, outcome in row.outcomes.items():
            if outcome not in _MARKS:
                yield f"{row.name}: {operation}: {outcome}"
        for note in row.notes:
            yield f"{row.name}: {note}"
    yield from _texts(operations, rows)


def _texts(operations: tuple[str, ...], rows: list[Row]) -> Iterator[str]:
    """Say what callers read, those with the same text together."""
    for operation in operations:
        readers: dict[str, list[str]] = {}
        for number, row in enumerate(rows, 1):
            if operation in row.texts:
                readers.setdefault(row.texts[operation], []).append(str(number))
        for text, numbers in readers.items():
            yield f"{operation}, as callers of {' '.join(numbers)} read it: {text}"
