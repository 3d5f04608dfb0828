"""The fixtures, as another project uses them: in a temporary folder, by a pytest of its own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bunker.testbed import Client, Relay, Signer, Testbed, Transcript

EXAMPLE = Path(__file__).parents[2] / "examples" / "testbed-python"

# What other plugins of this environment would bring into the project is not ours to test.
_PLUGINS = ("-p", "no:cacheprovider", "-p", "no:asyncio")


def run_pytest(folder: Path, *arguments: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "BUNKER"))}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *_PLUGINS, *arguments],
        cwd=folder,
        env={**environment, "TMPDIR": str(folder / "tmp")},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "second-project"
    (folder / "tmp").mkdir(parents=True)
    for path in EXAMPLE.glob("*.*"):
        shutil.copy(path, folder)
    return folder


def test_another_project_uses_the_fixtures_and_nothing_stays(project: Path) -> None:
    """With the package installed the fixtures are there, warnings are errors, no file is left."""
    said = run_pytest(project)
    assert "8 passed" in said
    assert not list((project / "tmp").glob("bunker-testbed-*"))


def test_tests_run_beside_each_other(project: Path) -> None:
    """Under pytest-xdist each worker has relays and signers of its own."""
    said = run_pytest(project, "-n", "2")
    assert "8 passed" in said


def test_plugin_costs_nothing_where_it_is_not_used(project: Path) -> None:
    """Loading the plugin imports none of relay, signer and client."""
    (project / "test_app.py").write_text(
        "import sys\n\ndef test_it():\n"
        "    assert not [name for name in sys.modules if name.startswith('bunker_')]\n"
    )
    assert re.search(r"1 passed", run_pytest(project))


def test_fixtures_share_one_testbed(
    bunker_relay: Relay,
    bunker_signer: Signer,
    bunker_client: Client,
    bunker_transcript: Transcript,
    bunker_testbed: Testbed,
) -> None:
    """The signer is on the relay, the client is the signer's, and the transcript shows it."""
    assert bunker_testbed.relays == [bunker_relay]
    assert bunker_relay.url.removeprefix("ws://") in bunker_signer.uri.replace("%3A", ":")
    assert {entry.client_pubkey for entry in bunker_transcript} == {bunker_client.client_pubkey}
