"""The file to install: the same on every machine, and a manifest that the browsers' stores take."""

import json
import os
import shutil
import subprocess
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from bunker import __version__
from client.nip07._stage import EXTENSION, built, packer
from support.require import need

PACKAGES = Path(__file__).parents[4] / "packages"
SCRIPT = "background.js"
BUNDLER = PACKAGES / "phone/node_modules/.bin/esbuild"

LINTER = Path(__file__).parents[1] / "node_modules" / ".bin" / "addons-linter"
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


def test_nothing_in_the_manifest_stands_in_the_way_of_other_browsers() -> None:
    """Firefox for Android has what this needs from 142 on; Safari and older ones read one version.

    A background of both sorts, icons in one size, and no API in what is asked for at installation
    that a phone's browser lacks; the version is the release's.
    """
    manifest = json.loads((built() / "manifest.json").read_text())
    assert manifest["manifest_version"] == 3
    assert manifest["version"] == __version__
    gecko = manifest["browser_specific_settings"]
    assert gecko["gecko"]["strict_min_version"] == "140.0"  # data_collection_permissions
    assert gecko["gecko_android"] == {"strict_min_version": "142.0"}  # the same, there
    assert manifest["background"] == {
        "service_worker": "background.js",
        "scripts": ["background.js"],
    }
    assert manifest["options_ui"]["open_in_tab"]  # Android has no other place for it
    for name in ("chrome_settings_overrides", "commands", "sidebar_action", "browser_action"):
        assert name not in manifest, name  # one of them at least fails there


NO_WINDOWS = """
import { PromptWindow } from "WINDOW";
const said = [];
let closed;
const tabs = {
  onRemoved: { addListener: (listener) => (closed = listener) },
  create: async ({ url }) => (said.push(`open ${url}`), { id: 7 }),
  update: (id, { active }) => said.push(`show ${id} ${active}`),
  remove: async (id) => said.push(`close ${id}`),
};
const prompt = new PromptWindow(API, () => said.push("no"), () => said.push("failed"));
await prompt.open();
prompt.focus();
closed(8); // another tab
closed(7);
await prompt.open();
prompt.close();
closed(7); // closed by us, it is no answer
console.log(said.join(", "));
"""


@pytest.mark.parametrize("api", ["{ tabs }", "{ tabs, windows: {} }"])
def test_where_a_browser_opens_no_windows_a_question_is_a_tab(api: str) -> None:
    """As in Firefox for Android: brought up, closed with its answer; closing it is a no."""
    need(shutil.which("node"), "Node.js")
    window = PACKAGES / "client/extension/background/window.js"
    script = NO_WINDOWS.replace("WINDOW", window.as_uri()).replace("API", api)
    command = ["node", "--input-type=module", "--eval", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    expected = "open prompt.html, show 7 true, no, open prompt.html, close 7"
    assert done.stdout.strip() == expected


def test_the_same_sources_make_the_same_file(tmp_path: Path) -> None:
    """Built in two places, at two times, the packed files have one hash, and hold no dates."""
    need(BUNDLER.exists(), "make extension (npm)")
    hashes = set()
    for place, when in (("here", 1), ("somewhere/else", 2_000_000_000)):
        root = tmp_path / place
        for folder in ("client/extension", "phone/web", "core/src/bunker_core/describe/texts"):
            shutil.copytree(PACKAGES / folder, root / folder)
        shutil.copy(PACKAGES / "phone/tsconfig.json", root / "phone")
        (root / "phone/node_modules").symlink_to((PACKAGES / "phone/node_modules").resolve())
        built_to = root / "built"
        command = ["node", str(root / "client/extension/build.mjs"), str(built_to)]
        subprocess.run(command, check=True, timeout=60)
        for path in built_to.rglob("*"):
            os.utime(path, (when, when))
        file = root / "extension.xpi"
        hashes.add(packer().pack(built_to, file))
        assert sha256(file.read_bytes()).hexdigest() in hashes
        with zipfile.ZipFile(file) as archive:
            assert {entry.date_time[0] for entry in archive.infolist()} == {1980}
    assert len(hashes) == 1
