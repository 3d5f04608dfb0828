"""The reference pages of docs/, from the code: `python -m bunker.reference DIRECTORY`."""

import sys
from collections.abc import Iterator
from dataclasses import MISSING
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import click

from bunker.cli import main
from bunker_relay.config import ENV_PREFIX, Config
from bunker_relay.config.section import Section, Setting, settings

_BOUNDS: Final = {"ge": "from {}", "gt": "over {}", "le": "to {}", "max_length": "{} characters"}


def pages() -> dict[str, str]:
    """Return the pages by their file names."""
    return {"cli.md": cli_page(), "configuration.md": configuration_page()}


def cli_page() -> str:
    """Return every command with its options."""
    head = [
        "# Command line",
        "",
        "Generated from the code; each command says the same with --help.",
    ]
    # With its settings: click keeps the help option of whichever context came first.
    context = click.Context(main, info_name="bunker", **main.context_settings)
    return "\n".join([*head, *_command(main, context)]) + "\n"


def configuration_page() -> str:
    """Return every key of the relay's configuration."""
    lines = [
        "# Configuration of the relay",
        "",
        "Generated from the code. Flags win over variables, variables over the TOML file that",
        "`--config` names, the file over the defaults; `bunker relay config` prints what would be",
        "used. The signer has no file: its options are in [Command line](cli.md).",
        "",
        "| key | variable | default | allowed |",
        "|---|---|---|---|",
        *_keys(Config, ""),
    ]
    return "\n".join(lines) + "\n"


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    path = context.command_path
    pieces = " ".join(command.collect_usage_pieces(context))
    depth = min(path.count(" ") + 1, 3)
    if path != "bunker":
        yield from ["", f"{'#' * (depth + 1)} {path}".rstrip(), ""]
        yield from [_plain(command.help or ""), "", "```text", f"{path} {pieces}", "```"]
    rows = [record for item in command.get_params(context) if (record := _record(item, context))]
    if rows and path != "bunker":
        yield from ["", "| option | meaning |", "|---|---|"]
        yield from (f"| `{_cell(names)}` | {_cell(text)} |" for names, text in rows)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None and not child.hidden:
                yield from _command(child, click.Context(child, context, info_name=name))


def _record(item: click.Parameter, context: click.Context) -> tuple[str, str] | None:
    if "--help" in item.opts:
        return None
    return item.get_help_record(context)


def _keys(section: type[Section], prefix: str) -> Iterator[str]:
    for name, item in settings(section).items():
        key = f"{prefix}{name}"
        if issubclass(item.kind, Section):
            yield from _keys(item.kind, f"{key}.")
            continue
        variable = ENV_PREFIX + key.replace(".", "__").upper()
        default = "" if item.default is MISSING else f"`{_shown(item.default)}`"
        yield f"| `{key}` | `{variable}` | {_cell(default)} | {_cell(_allowed(item))} |"


def _allowed(item: Setting) -> str:
    if issubclass(item.kind, StrEnum):
        return item.range()
    bounds = {name: getattr(item.allowed, name) for name in _BOUNDS}
    return " ".join(_BOUNDS[name].format(x) for name, x in bounds.items() if x is not None)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(getattr(value, "value", value))


def _plain(text: str) -> str:
    return "\n".join(line.strip() for line in text.replace("\b", "").strip().splitlines())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for file_name, page in pages().items():
        file = target / file_name
        if not file.exists() or file.read_text() != page:  # the rest may be read at this moment
            file.write_text(page)
