"""What the tests of a module are told and asked: plugins of pytest."""

import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

# A failure is enough: nobody reads the example.
settings.register_profile(
    "mutants",
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


class Quick:
    """Finds failures without looking for the smallest."""

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self) -> None:
        """Take the place of the profile that the tests have loaded."""
        settings.load_profile("mutants")


class Watch(Quick):
    """Notes what each test says, how long it takes, and which lines of a module it runs."""

    def __init__(self, module: Path) -> None:
        self._module = str(module)
        self._lines: set[int] = set()
        self.tests: dict[str, dict[str, Any]] = {}
        self.failed: list[str] = []
        self.begun = 0.0  # when the first test did, on the monotonic clock

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        """Watch a test with what it sets up."""
        self._lines = set()
        self.begun = self.begun or time.monotonic()
        sys.settrace(self._called)
        threading.settrace(self._called)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)
            self.tests[item.nodeid]["lines"] = sorted(self._lines)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up the seconds, and note who failed."""
        test = self.tests.setdefault(report.nodeid, {"seconds": 0.0})
        test["seconds"] += report.duration
        if report.failed:
            self.failed.append(report.nodeid)

    def _called(self, frame: FrameType, _event: str, _arg: object) -> Any:
        return self._ran if frame.f_code.co_filename == self._module else None

    def _ran(self, frame: FrameType, _event: str, _arg: object) -> Any:
        self._lines.add(frame.f_lineno)
        return self._ran


class Choice(Quick):
    """Runs some of the tests, those that take long after the others."""

    def __init__(self, tests: dict[str, float]) -> None:
        """`tests` has the seconds of each."""
        self._tests = tests

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Leave out the others."""
        left = [item for item in items if item.nodeid not in self._tests]
        items[:] = [item for item in items if item.nodeid in self._tests]
        items.sort(key=lambda item: self._tests[item.nodeid] > 0.5)
        config.hook.pytest_deselected(items=left)
