"""Change a module in one place after another, and show the changes that its tests do not notice.

    make mutants MODULES="PATH..." [TESTS="PATH..."] [SINCE=COMMIT]

A module is a path such as packages/core/src/bunker_core/bounds/rate.py. Its tests are the file at
the same path and those beside and below it that import it, or what TESTS names. They run once
without any change, and that shows how long each takes and which lines it runs. Then each change is
made in a copy of the repository, in build, and given to the tests that run its line, until one
fails. What no test notices is shown at once, and every ten seconds how far it is (on a terminal,
always). With SINCE only lines are changed that are not as they were in that commit.

A change that keeps its tests from ending is ended after three times the seconds that they took
without it, from the start of Python to the last test, and five more; it counts as noticed, and is
named. Ctrl-C ends it all; what was shown holds. Ends with 1 if anything was not noticed.
"""

import ast
import contextlib
import difflib
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import forks
from progress import Progress

ROOT: Final = Path(__file__).parents[2]
_LEFT_OUT: Final = (".venv*", ".git", "build", "node_modules", "dist", "*.pyc", ".hypothesis")


def main(cosmic_ray: str, modules: list[str]) -> int:
    """Print what survives; return 1 if anything does. `cosmic_ray` is the Python that has it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    (ROOT / "build").mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="mutants-", dir=ROOT / "build") as place,
        tempfile.TemporaryDirectory(prefix="mutants-") as scratch,  # short: sockets lie in it
    ):
        copies = [Path(place, str(each)) for each in range(len(os.sched_getaffinity(0)))]
        for copy in copies:
            shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        try:
            survived = [_survivors(cosmic_ray, each, copies, Path(scratch)) for each in modules]
        except KeyboardInterrupt:
            return 130
    return int(any(survived))


def _tests_of(module: str) -> list[str]:
    """Return the test file of a module, at the same path, and those beside or below that import it.

    The nearest folder of tests, if there is none.
    """
    named = os.environ.get("TESTS", "").split()
    _, package, _, *rest = Path(module).with_suffix("").parts
    folder = ROOT / "tests" / Path(package, *rest[1:-1])
    while not folder.exists():
        folder = folder.parent
    found = [
        str(file.relative_to(ROOT))
        for file in sorted(folder.rglob("test_*.py"))
        if file.stem == f"test_{rest[-1]}" or f"from {'.'.join(rest)} import" in file.read_text()
    ]
    return named or found or [str(folder.relative_to(ROOT))]


def _survivors(cosmic_ray: str, module: str, copies: list[Path], scratch: Path) -> int:
    """Return how many changes of one module nobody noticed, and show them."""
    source, tests = (ROOT / module).read_text(), _tests_of(module)
    progress = Progress(module)
    changes = _changes(cosmic_ray, module)
    progress.say(f"{len(changes)} changes, for {' '.join(tests)}")
    seen = forks.watch(copies, module, tests, scratch)
    if seen["failed"]:
        progress.say(f"these fail without any change: {seen['failed']}")
        return 1
    took = sum(test["seconds"] for test in seen["tests"].values())
    progress.say(f"{len(seen['tests'])} tests, which take {took:.1f} s without a change")
    for name in seen["imported"]:  # once, and not in every fork
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    runs = [(change, _noticing(change, seen["tests"], source)) for change in changes]
    found = dict.fromkeys(forks.Outcome, 0)
    for change, outcome in forks.run(copies, module, tests, runs, seen["start"], scratch):
        found[outcome] += 1
        if outcome is not forks.Outcome.NOTICED:
            progress.show(f"{outcome.value}: {_shown(module, source, change)}")
        alive = found[forks.Outcome.MISSED]
        progress.at(f"{sum(found.values())} of {len(runs)}, {alive} not noticed")
    progress.say(
        ", ".join(f"{number} {outcome.value}" for outcome, number in found.items() if number)
    )
    return found[forks.Outcome.MISSED]


def _changes(cosmic_ray: str, module: str) -> list[dict[str, Any]]:
    script = Path(__file__).with_name("changes.py")
    told = subprocess.run(  # noqa: S603
        [cosmic_ray, str(script), module], cwd=ROOT, check=True, capture_output=True
    )
    changes: list[dict[str, Any]] = json.loads(told.stdout)
    since = os.environ.get("SINCE")
    if since:
        lines = _changed_since(since, module)
        changes = [change for change in changes if change["line"] in lines]
    return changes


def _changed_since(commit: str, module: str) -> set[int]:
    """Return the lines that are not as they were."""
    asked = ["git", "diff", "-U0", commit, "--", module]
    told = subprocess.run(asked, cwd=ROOT, check=True, capture_output=True, text=True)  # noqa: S603
    lines: set[int] = set()
    for first, count in re.findall(r"^@@ \S+ \+(\d+)(?:,(\d+))? @@", told.stdout, re.MULTILINE):
        lines.update(range(int(first), int(first) + int(count or 1)))
    return lines


def _noticing(
    change: dict[str, Any], tests: dict[str, dict[str, Any]], source: str
) -> dict[str, float]:
    """Return the tests, with their seconds, that run the statement of a change, or may.

    What runs nothing of the module here may run it in another process; and a statement that no
    test runs may run when the module is imported, so that all of them count.
    """
    line = change["line"]
    within = {line}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or 0):
            body = getattr(node, "body", None)
            end = body[0].lineno - 1 if body else node.end_lineno or line
            if line <= end:
                within = set(range(node.lineno, end + 1))
    running = {
        name: test
        for name, test in tests.items()
        if within & set(test["lines"]) or not test["lines"]
    }
    if all(not test["lines"] for test in running.values()):
        running = tests
    return {name: test["seconds"] for name, test in running.items()}


def _shown(module: str, source: str, change: dict[str, Any]) -> str:
    lines = difflib.unified_diff(source.split("\n"), change["code"].split("\n"), n=0, lineterm="")
    return f"{module}:{change['line']}\n" + "".join(
        f"    {line}\n" for line in list(lines)[2:] if not line.startswith("@@")
    )


if __name__ == "__main__":
    if {"-h", "--help"} & {*sys.argv[1:]}:
        sys.stdout.write(__doc__)
    else:
        sys.exit(main(sys.argv[1], sys.argv[2:]))
