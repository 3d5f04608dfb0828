"""The first start: processor time of `bunker --help`, time to the URI of `bunker up`, memory then.

python -m bench.start [COMMAND]     COMMAND is `bunker`, or a single executable
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

_SETTLED = 3.0  # seconds after the URI until memory is looked at
_RUNS = 3


def processor_of_help(command: list[str]) -> float:
    """Return the seconds of processor that `--help` takes, the least of several."""
    least = float("inf")
    for _ in range(_RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([*command, "--help"], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        least = min(least, used)
    return least


def first_start(command: list[str], data: str) -> tuple[float, list[int]]:
    """Return the seconds to the URI, and the proportional memory (MiB) of each process."""
    started = time.perf_counter()
    arguments = ["up", "--yes", "--pair", "--no-qr", "--port", "0", "--data", data]
    with subprocess.Popen(
        [*command, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as up:
        assert up.stdout
        try:
            next(line for line in up.stdout if line.startswith("bunker://"))
            took = time.perf_counter() - started
            time.sleep(_SETTLED)
            return took, [_memory(pid) for pid in _family(up.pid)]
        finally:
            up.terminate()
            up.communicate()


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in children for found in _family(int(child)))]


def _memory(pid: int) -> int:
    rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(row.split()[1]) for row in rows if row.startswith("Pss:")) // 1024


def main() -> None:
    """Print the figures, the new installation's first."""
    command = sys.argv[1:] or [sys.executable, "-m", "bunker"]
    print(f"bunker --help      {processor_of_help(command):.2f} s of processor (bound 0.3)")
    with tempfile.TemporaryDirectory() as folder:
        for number in range(_RUNS):
            took, memory = first_start(command, os.path.join(folder, "data"))  # noqa: PTH118
            which = "first start" if not number else "again"
            print(
                f"{which:<18} {took:.2f} s to the URI (bound 1.5), {sum(memory)} MiB of memory "
                f"(bound 110): {', '.join(map(str, memory))}"
            )


if __name__ == "__main__":
    main()
