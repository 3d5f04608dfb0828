"""Where a user's own things lie: the XDG base directory, and ~."""

import os
from pathlib import Path
from typing import Final

from bunker_core.errors import BunkerError

_NONE: Final = "no home directory is known: set HOME, or XDG_DATA_HOME"


def data_home() -> Path:
    """Return where programs keep a user's data (XDG base directory specification).

    Raises BunkerError where nobody says which home it is, as in a container under a bare uid.
    """
    base = os.environ.get("XDG_DATA_HOME")
    return Path(base) if base else user_home() / ".local" / "share"


def user_home() -> Path:
    """Return the user's home; raises BunkerError."""
    try:
        return Path.home()
    except RuntimeError:
        raise BunkerError(_NONE) from None


def expanded(path: str | Path) -> Path:
    """Return a path with the home that a `~` or `~name` stands for; raises BunkerError."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise BunkerError(f"{path}: there is no such home directory") from None
