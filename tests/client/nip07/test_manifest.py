"""The manifest as Mozilla's own linter reads it, which decides what its store takes."""

import json
import shutil
import subprocess
from pathlib import Path

from _require import need
from client.nip07._stage import EXTENSION, built

LINTER = Path(__file__).parent / "node_modules" / ".bin" / "addons-linter"
# One manifest for both: Chromium wants a service worker, Firefox takes the scripts beside it.
EXPECTED = ["BACKGROUND_SERVICE_WORKER_IGNORED"]


def test_mozillas_linter_finds_nothing_else() -> None:
    """No error, no notice, and one warning, which is meant."""
    need(shutil.which("node") and LINTER.exists(), "make peers (npm)")
    built()
    done = subprocess.run(
        [str(LINTER), "--output", "json", str(EXTENSION)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    found = json.loads(done.stdout)
    assert found["errors"] == found["notices"] == [], found
    assert [item["code"] for item in found["warnings"]] == EXPECTED


def test_nothing_that_is_collected_is_declared_because_nothing_is() -> None:
    """Firefox asks what an extension sends home: ours says none, and may start the host alone."""
    manifest = json.loads((built() / "manifest.json").read_text())
    gecko = manifest["browser_specific_settings"]["gecko"]
    assert gecko["data_collection_permissions"] == {"required": ["none"]}
    assert manifest["permissions"] == ["unlimitedStorage"]
    assert manifest["optional_permissions"] == ["nativeMessaging"]
    assert "host_permissions" not in manifest
