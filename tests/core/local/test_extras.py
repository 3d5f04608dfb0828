"""How a person gets an extra: other projects' packages by name, never ours."""

import re
import sys
from pathlib import Path

import pytest

from bunker_core.local.extras import how_to_install

ROOT = Path(__file__).parents[3]


def test_command_names_what_others_publish() -> None:
    """The command is for this very Python, quoted for a shell, and brings all of the extra."""
    said = how_to_install("nostr-bunker-signer", "qr")
    assert said == f"{sys.executable} -m pip install 'pillow>=10' 'zxing-cpp>=2.2' brings it"


def test_extra_that_is_an_extra_of_another_of_ours() -> None:
    """`nostr-bunker[qr]` is the signer's: what that asks for is named, not the signer."""
    assert how_to_install("nostr-bunker", "qr") == how_to_install("nostr-bunker-signer", "qr")


@pytest.mark.parametrize(("distribution", "extra"), [("nostr-bunker", "none"), ("not-there", "x")])
def test_what_is_not_known_is_no_command(distribution: str, extra: str) -> None:
    said = how_to_install(distribution, extra)
    assert "pip install" not in said
    assert extra in said


def test_single_file_does_not_send_people_to_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be installed into the executable."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert "-m pip" not in how_to_install("nostr-bunker-signer", "qr")


def test_no_text_of_the_program_installs_our_names() -> None:
    """Until they are published a stranger may have them: no source names them to pip."""
    paths = [
        path
        for suffix in ("py", "html", "js")
        for path in ROOT.glob(f"packages/*/src/**/*.{suffix}")
    ]
    assert len(paths) > 300
    wrong = re.compile(r"""(pip|pipx|uv tool|uv pip) install ['"]?nostr-bunker""")
    found = [
        f"{path.name}: {line.strip()}"
        for path in paths
        for line in path.read_text().splitlines()
        if wrong.search(line)
    ]
    assert not found
