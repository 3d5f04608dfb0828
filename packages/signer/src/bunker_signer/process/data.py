"""Where a signer's data lies when no directory is named."""

import os
from pathlib import Path


def default_data() -> Path:
    """Return where `bunker up` has its signer (XDG base directory)."""
    base = os.environ.get("XDG_DATA_HOME")
    home = Path(base) if base else Path.home() / ".local" / "share"
    return home / "nostr-bunker" / "signer"
