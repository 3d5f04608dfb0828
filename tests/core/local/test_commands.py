"""A module of commands is imported when one of them is asked for; a program's words are safe."""

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bunker_core.errors import BunkerError
from bunker_core.local.commands import ModuleCommands, Program

COMMANDS = """
import click

@click.command()
def {name}() -> None:
    click.echo("{name} of {module}")

commands = [{name}]
"""


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleCommands]:
    """A group of three modules: `run` is in `serve`, `keys` in `keys`, `list` in `data`."""
    for module, name in (("serve", "run"), ("data", "list"), ("keys", "keys")):
        (tmp_path / f"slim_{module}").mkdir()
        path = tmp_path / f"slim_{module}" / f"{name if module == 'keys' else module}.py"
        path.write_text(COMMANDS.format(module=module, name=name))
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    modules = ["slim_serve.serve", "slim_data.data", "slim_keys.keys"]
    yield ModuleCommands("group", modules=modules)
    for name in set(sys.modules) - before:
        if name.startswith("slim_"):
            del sys.modules[name]


def _loaded() -> set[str]:
    return {name for name in sys.modules if name.startswith("slim_") and "." in name}


@pytest.mark.parametrize(
    ("command", "loaded"),
    [
        ("run", {"slim_serve.serve"}),  # the first
        ("keys", {"slim_keys.keys"}),  # called as its module
        ("list", {"slim_serve.serve", "slim_data.data"}),  # looked for, in their order
    ],
)
def test_only_what_is_asked_for_is_imported(
    group: ModuleCommands, command: str, loaded: set[str]
) -> None:
    """What runs for long holds no command in memory that only others need."""
    said = CliRunner().invoke(group, [command])
    assert said.output.startswith(f"{command} of ")
    assert _loaded() == loaded


def test_help_lists_all_of_them(group: ModuleCommands) -> None:
    """And an unknown name is an error of usage."""
    listed = CliRunner().invoke(group, ["--help"]).output
    assert [line.split()[0] for line in listed.splitlines()[-3:]] == ["keys", "list", "run"]
    unknown = CliRunner().invoke(group, ["nothing"])
    assert (unknown.exit_code, "No such command 'nothing'" in unknown.output) == (2, True)


def test_an_error_obeys_nobody() -> None:
    """A stranger's words in it can neither move the cursor nor write over what stands there."""

    @click.group(cls=Program)
    def program() -> None: ...

    @program.command()
    def fail() -> None:
        raise click.ClickException("the relay said \x1b[2J\rall is well")

    said = CliRunner().invoke(program, ["fail"])
    assert said.exit_code == 1
    assert "all is well" in said.output
    assert "\x1b" not in said.output
    assert "\r" not in said.output


def test_what_a_program_writes_is_its_owner_s(tmp_path: Path) -> None:
    """Whatever the umask was."""

    @click.group(cls=Program)
    def program() -> None: ...

    @program.command()
    def write() -> None:
        (tmp_path / "file").write_text("")

    before = os.umask(0)
    try:
        assert CliRunner().invoke(program, ["write"]).exit_code == 0
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (BunkerError("no home\x1b[2J"), "no home"),
        (OSError(errno.EROFS, "Read-only file system", "/data/x"), "/data/x: Read-only file sys"),
        (OSError(errno.EIO, "Input/output error"), "Error: Input/output error"),
        (OSError(errno.ENOSPC, "No space left", b"/a\xff\n"), "No space left"),
        (
            UnicodeDecodeError("utf-8", b"secret\xfc", 6, 7, "x"),
            "Error: what was given is not text",
        ),
    ],
)
def test_what_no_command_foresaw_is_one_line(error: Exception, said: str) -> None:
    """A disk, or a home that is none: in words, with 1, and without a traceback."""

    @click.group(cls=Program)
    def program() -> None: ...

    @program.command()
    def fail() -> None:
        raise error

    result = CliRunner().invoke(program, ["fail"])
    assert (result.exit_code, result.output.count("\n")) == (1, 1), result.output
    assert said in result.output
    assert "\x1b" not in result.output
