"""Where a signer's data lies when no directory is named."""

from pathlib import Path

from bunker_core.local.home import data_home


def default_data() -> Path:
    """Return where `bunker up` has its signer (XDG base directory)."""
    return data_home() / "nostr-bunker" / "signer"
