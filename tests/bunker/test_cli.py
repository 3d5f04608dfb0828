"""The `bunker` command finds what is installed."""

import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bunker.cli import _SECTIONS, main

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


def test_the_help_imports_no_command() -> None:
    """`bunker --help` is there in no time: it holds each command's own sentence, and loads none."""
    for sentences in _SECTIONS.values():
        for name, sentence in sentences.items():
            command = main.get_command(click.Context(main), name)
            assert command is not None
            assert command.get_short_help_str(1_000) == sentence
    code = (
        "import sys, bunker.cli\n"
        "bunker.cli.main(['--help'], standalone_mode=False)\n"
        "heavy = {'bunker_signer', 'bunker_relay', 'bunker_client', 'bunker_core.event'}\n"
        "heavy.add('asyncio')\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    # In a process of its own: click keeps the help option of whichever context came first.
    short = subprocess.run(
        [sys.executable, "-c", code.replace("--help", "-h")], capture_output=True, text=True
    )
    assert short.stdout == run.stdout


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("rleay", "`bunker relay`"),
        ("upp", "`bunker up`"),
        ("approve", "`bunker signer approve`"),
        ("lock", "`bunker signer lock` or `bunker key lock`"),
        ("qwertyuiop", ""),
    ],
)
def test_a_typing_error_gets_the_right_name(typed: str, meant: str) -> None:
    """A command that is none is answered with what may have been meant, not with a traceback."""
    result = CliRunner().invoke(main, [typed])
    assert result.exit_code == 2
    assert f"No such command '{typed}'" in result.output
    assert (f"Did you mean {meant}?" in result.output) is bool(meant)


def test_what_a_terminal_cannot_show_is_no_error() -> None:
    """A terminal of ISO 8859-1 gets question marks instead of a traceback."""
    code = (
        "import click, bunker.cli\n"
        "bunker.cli.main.get_command = lambda *_: click.Command('x', callback=lambda: "
        "click.echo('\u2026 \u2588'))\n"
        "bunker.cli.main(['x'])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
    )
    assert (run.returncode, run.stdout) == (0, b"? ?\n")


def test_what_a_command_writes_is_private(tmp_path: Path) -> None:
    """A shell's umask of 022 gives nobody else a file of ours."""
    code = (
        "import os, bunker.cli, click, pathlib; os.umask(0o022)\n"
        "bunker.cli.main.get_command = lambda *_: click.Command('x', callback=lambda: "
        "pathlib.Path('made').write_text(''))\n"
        "bunker.cli.main(['x'])"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600


def test_command_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an extra is not installed, the command names what is missing and what brings it."""
    broken = EntryPoint("up", "bunker_not_there.up:up [testbed]", "bunker.commands")
    monkeypatch.setattr("bunker.cli.entry_points", lambda **_: [broken])
    result = CliRunner().invoke(main, ["up"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: `bunker up` needs bunker_not_there")
    assert "pip install" in result.output
    assert "starlette" in result.output
    assert "pip install nostr-bunker" not in result.output.replace("'", "")


def test_entry_point_that_is_no_command_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A foreign package can't put anything but a command behind a name."""
    wrong = EntryPoint("odd", "os:getcwd", "bunker.commands")
    monkeypatch.setattr("bunker.cli.entry_points", lambda **_: [wrong])
    with pytest.raises(TypeError, match="odd is not a command"):
        main.get_command(click.Context(main), "odd")


@pytest.mark.parametrize(
    "words", ["\x1b]0;owned\x07", "\x1b[2J", "\u202etxt.exe", "\x9b31m", "a\rb", "\u200bx"]
)
def test_no_error_brings_a_strangers_characters_to_the_terminal(words: str) -> None:
    """A relay's reason, a manifest's name: control characters of whoever wrote them are dots."""

    @main.command("hostile")
    def hostile() -> None:
        raise click.ClickException(f"the relay says {words}")

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(main), "get_command", lambda *_: hostile)
            said = CliRunner().invoke(main, ["hostile"]).output
    finally:
        main.commands.pop("hostile", None)
    assert "the relay says" in said
    assert not [c for c in said if not c.isprintable() and c != "\n"]


def test_terminal_that_is_not_utf8_is_written_to() -> None:
    """What a terminal's encoding has not is a question mark, not a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "bunker", "up", "--help"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert "nsec1? or ncryptsec1?" in " ".join(done.stdout.decode("latin-1").split())
