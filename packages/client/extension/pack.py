"""Pack the built extension: python3 pack.py FOLDER; a zip for Chromium, an xpi for Firefox.

Both hold the same files; names, dates and order are fixed and nothing is compressed, so that the
same files give the same bytes on every machine. Prints the hashes.
"""

import hashlib
import json
import sys
import zipfile
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src/bunker_client/nip07/extension"


def pack(source: Path, target: Path) -> str:
    """Write `target` from the files of `source`; return its SHA-256."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(item for item in source.rglob("*") if item.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(source).as_posix(), (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    return hashlib.sha256(target.read_bytes()).hexdigest()


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    version = json.loads((SOURCE / "manifest.json").read_text())["version"]
    for kind in ("zip", "xpi"):
        file = folder / f"nostr-bunker-{version}.{kind}"
        sys.stdout.write(f"{pack(SOURCE, file)}  {file}\n")
