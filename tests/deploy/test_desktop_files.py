"""The files that make a desktop open Nostr's addresses name commands that there are."""

import configparser
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from bunker.cli import main

FILES = sorted((Path(__file__).parents[2] / "deploy" / "desktop").glob("*.desktop"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_desktop_file(path: Path) -> None:
    """One scheme, one command that knows its options, one address for it."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read(path)
    entry = parser["Desktop Entry"]
    assert entry["MimeType"].startswith("x-scheme-handler/")
    program, *arguments, last = shlex.split(entry["Exec"])
    assert (program, last) == ("bunker", "%u")
    result = CliRunner().invoke(main, [*arguments, "--help"])
    assert result.exit_code == 0, result.output
    for option in arguments:
        if option.startswith("--"):
            assert option in result.output


def test_both_schemes() -> None:
    """An app shows nostrconnect://, a signer shows bunker://."""
    schemes = "".join(path.read_text() for path in FILES)
    assert "x-scheme-handler/nostrconnect;" in schemes
    assert "x-scheme-handler/bunker;" in schemes
