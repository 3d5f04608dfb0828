"""The `bunker` command finds what is installed."""

import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bunker.cli import main

ROOT = Path(__file__).parents[2]


def test_every_declared_command_loads_and_explains_itself() -> None:
    """Each entry point of the packages is a command whose --help says what it does."""
    declared = {
        name
        for path in ROOT.glob("packages/*/pyproject.toml")
        for name in tomllib.loads(path.read_text())["project"]
        .get("entry-points", {})
        .get("bunker.commands", {})
    }
    assert {"relay", "signer", "sign", "demo", "up"} <= declared
    listing = CliRunner().invoke(main, ["--help"])
    assert listing.exit_code == 0
    for name in declared:
        assert name in listing.output
        result = CliRunner().invoke(main, [name, "--help"])
        assert result.exit_code == 0, result.output
        assert result.output.count("\n") > 4


def test_unknown_command_is_named() -> None:
    """A typing error is answered with the command's name, not with a traceback."""
    result = CliRunner().invoke(main, ["rleay"])
    assert result.exit_code == 2
    assert "No such command 'rleay'" in result.output


def test_command_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """With nostr-bunker alone, `bunker up` names what is missing."""
    broken = EntryPoint("up", "bunker_not_there.up:up", "bunker.commands")
    monkeypatch.setattr("bunker.cli.entry_points", lambda **_: [broken])
    result = CliRunner().invoke(main, ["up"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: `bunker up` needs bunker_not_there")


def test_entry_point_that_is_no_command_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A foreign package can't put anything but a command behind a name."""
    wrong = EntryPoint("odd", "os:getcwd", "bunker.commands")
    monkeypatch.setattr("bunker.cli.entry_points", lambda **_: [wrong])
    with pytest.raises(TypeError, match="odd is not a command"):
        main.get_command(click.Context(main), "odd")


def test_commands_that_need_everything_are_hidden_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With relay and command alone, `bunker` offers `relay` and nothing else."""
    declared = [
        EntryPoint("relay", "bunker_relay.cli:relay", "bunker.commands"),
        EntryPoint("up", "bunker.up.command:up [all]", "bunker.commands"),
    ]
    monkeypatch.setattr("bunker.cli.entry_points", lambda **_: declared)
    context = click.Context(main)
    assert main.list_commands(context) == ["relay", "up"]
    monkeypatch.setattr("bunker.cli.find_spec", lambda name: name == "bunker_relay")
    assert main.list_commands(context) == ["relay"]
