"""Room on the disk of the signer's database: looked at before it is needed."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bunker_signer.process.logs import get_logger

FLOOR: Final = 64 * 1024 * 1024  # bytes: SQLite's log and a few thousand requests
LOOK_EVERY: Final = 1.0  # seconds

log = get_logger(__name__)


def _free(path: Path) -> int:
    return shutil.disk_usage(path).free


class Space:
    """Tells whether there is room in `directory`; always, without one (PostgreSQL)."""

    def __init__(
        self,
        directory: Path | None,
        free: Callable[[Path], int] = _free,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._free = free
        self._steady = steady
        self._looked_at = -LOOK_EVERY
        self._enough = True

    @property
    def enough(self) -> bool:
        """Whether requests may be written down. A change is logged once."""
        now = self._steady()
        if self._directory is None or now < self._looked_at + LOOK_EVERY:
            return self._enough
        self._looked_at = now
        try:
            free = self._free(self._directory)
        except OSError:
            return self._enough  # the database will say what is wrong
        if (free >= FLOOR) is not self._enough:
            self._enough = free >= FLOOR
            if self._enough:
                log.info("there is room on the disk again", free_bytes=free)
            else:
                log.error(
                    "the disk is nearly full: requests are refused until there is room",
                    free_bytes=free,
                    needed_bytes=FLOOR,
                    directory=str(self._directory),
                )
        return self._enough
