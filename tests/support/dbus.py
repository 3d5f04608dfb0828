"""A session bus of a test's own."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from support.require import need


@contextmanager
def session_bus() -> Iterator[str]:
    """Run a bus; yield what DBUS_SESSION_BUS_ADDRESS is for who uses it. Skips without dbus."""
    need(shutil.which("dbus-daemon"), "dbus, of .ci/apt/protectors.txt")
    with subprocess.Popen(
        ["dbus-daemon", "--session", "--nofork", "--print-address"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as daemon:
        assert daemon.stdout is not None
        try:
            yield daemon.stdout.readline().strip()
        finally:
            daemon.terminate()
