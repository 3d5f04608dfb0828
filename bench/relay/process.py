"""Start a relay without rate limits for a measurement, and look at its process."""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_RATES = ["events", "signing", "strangers", "queries", "connections", "requests"]
_LIMITS = """
limits.max_connections = 100_000
limits.max_connections_per_ip = 100_000
limits.max_filters_per_ip = 100_000
"""


@dataclass(frozen=True, slots=True)
class Relay:
    """A relay under measurement."""

    url: str
    pid: int

    def rss(self) -> int:
        """Return its resident memory in bytes."""
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert found is not None
        return int(found[1]) * 1024

    def cpu(self) -> float:
        """Return the seconds of processor time that it has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def relay(extra: str = "", *, limited: bool = False) -> Iterator[Relay]:
    """Run our relay on a free port with a fresh data directory; `extra` is TOML.

    With `limited` its limits and rates are those that everybody has.
    """
    unlimited = "{per_second = 1000000, burst = 1000000}"
    lines = [f"rates.{name}_per_ip = {unlimited}" for name in _RATES]
    lines += [f"rates.{name}_per_pubkey = {unlimited}" for name in ("events", "signing")]
    lines = [] if limited else [*lines, _LIMITS]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "relay.toml"
        config.write_text("\n".join([*lines, extra]))
        command = [sys.executable, "-c", "from bunker_relay.cli import relay; relay()", "run"]
        command += ["--port", "0", "--data", f"{folder}/data", "--config", str(config)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                yield Relay(line.removeprefix("relay listening on ").strip(), process.pid)
            finally:
                process.terminate()
