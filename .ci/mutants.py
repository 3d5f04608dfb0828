"""Change a module in one place after another, and show the changes that its tests do not notice.

`python .ci/mutants.py COSMIC_RAY MODULE...`; a module is a path such as
packages/core/src/bunker_core/bounds/rate.py, whose tests have the same path below tests/. It works
in a copy of the repository, in build/mutants.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
COPY: Final = ROOT / "build" / "mutants"
_CONFIG: Final = """\
[cosmic-ray]
module-path = "{module}"
timeout = 60.0
excluded-modules = []
test-command = "{python} -m pytest -x -q -p no:cacheprovider {tests}"
[cosmic-ray.distributor]
name = "local"
"""


def main(cosmic_ray: str, modules: list[str]) -> int:
    """Print what survives; return 1 if anything does."""
    shutil.rmtree(COPY, ignore_errors=True)
    leave = shutil.ignore_patterns(".venv*", ".git", "build", "node_modules", "dist", "*.pyc")
    shutil.copytree(ROOT, COPY, ignore=leave)
    survived = 0
    for module in modules:
        tests = _tests_of(module)
        if tests is None:
            sys.stdout.write(f"{module}: no tests of its own\n")
            survived += 1
            continue
        survived += _run(cosmic_ray, module, tests)
    return int(survived > 0)


def _tests_of(module: str) -> str | None:
    """Return the test file or folder of a module: the same path, else the nearest folder."""
    _, package, _, _, *rest = Path(module).parts
    place = Path("tests", package, *rest)
    for found in (place.with_name(f"test_{place.name}"), place.parent):
        if found != Path("tests", package) and (ROOT / found).exists():
            return str(found)
    return None


def _run(cosmic_ray: str, module: str, tests: str) -> int:
    """Return how many changes of one module nobody noticed."""
    config, session = COPY / "mutants.toml", COPY / "mutants.sqlite"
    session.unlink(missing_ok=True)
    python = ROOT / ".venv" / "bin" / "python"
    config.write_text(_CONFIG.format(module=module, python=python, tests=tests))
    sources = sorted(str(path) for path in COPY.glob("packages/*/src"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sources)}
    for step in (["baseline", str(config)], ["init", str(config), str(session)]):
        subprocess.run([cosmic_ray, *step], cwd=COPY, env=environment, check=True)  # noqa: S603
    execute = [cosmic_ray, "exec", str(config), str(session)]
    subprocess.run(execute, cwd=COPY, env=environment, check=True)  # noqa: S603
    dump = subprocess.run(  # noqa: S603
        [cosmic_ray, "dump", str(session)],
        cwd=COPY,
        env=environment,
        check=True,
        capture_output=True,
    )
    results = [json.loads(line) for line in dump.stdout.splitlines()]
    alive = [(item, result) for item, result in results if _lives(result)]
    sys.stdout.write(f"{module}: {len(results)} changes, {len(alive)} not noticed by {tests}\n")
    for _, result in alive:
        sys.stdout.write(f"{result.get('diff', '')}\n")
    return len(alive)


def _lives(result: dict[str, str] | None) -> bool:
    return result is not None and result.get("test_outcome") == "survived"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
