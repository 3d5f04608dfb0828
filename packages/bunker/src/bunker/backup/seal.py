"""What proves that a backup is the owner's own: a MAC of its manifest under the master key."""

import json
from collections.abc import Mapping
from hmac import compare_digest, digest
from pathlib import Path
from typing import Any, Final

from bunker_core.keys import wipe
from bunker_signer.nse.wrap.master_key import MasterKey

_PURPOSE: Final = b"nostr-bunker backup manifest 1\n"
_KEY_BYTES: Final = 32


def seal(manifest: Mapping[str, Any], master_key_file: Path) -> str:
    """Return the MAC (HMAC-SHA256, hex) of a manifest, its own field `mac` left out.

    Raises NSEError when the master key can't be read.
    """
    told = {name: value for name, value in manifest.items() if name != "mac"}
    body = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
    master = MasterKey.from_file(master_key_file)
    key = bytearray(_KEY_BYTES)
    try:
        master.copy_into(memoryview(key))
        return digest(key, _PURPOSE + body, "sha256").hex()
    finally:
        wipe(key)
        master.close()


def check(manifest: Mapping[str, Any], master_key_file: Path) -> bool:
    """Tell whether the manifest is as it was sealed; raises NSEError."""
    return compare_digest(seal(manifest, master_key_file).encode(), str(manifest["mac"]).encode())
