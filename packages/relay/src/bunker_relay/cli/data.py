"""`bunker relay export, import, vacuum, salvage`: what is stored, at the terminal."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from bunker_core.event import Event
    from bunker_relay.config import Config

from bunker_relay.cli.options import find_database, load_or_fail, tool_config, tool_options


@click.command("export")
@tool_options
@click.option(
    "--output", type=click.File("wb", lazy=True), default="-", help="File; - is the terminal."
)
def export_command(config_file: Path | None, data: Path | None, output: IO[bytes]) -> None:
    """Write all stored events as JSON lines, oldest first."""
    from bunker_relay.store.outcome import StoreError
    from bunker_relay.store.tools.transfer import export_events

    database, shown = find_database(config_file, data)
    progress = _Progress("Exporting")
    try:
        total, lines = export_events(database)
        with progress.bar(total):
            for line in lines:
                output.write(line + b"\n")
                progress.to(progress.done + 1)
    except StoreError as error:
        raise click.ClickException(f"{shown}: {error}") from None
    click.echo(f"{total} events", err=True)


@click.command("import")
@tool_options
@click.argument("file", type=click.File("rb"))
def import_command(config_file: Path | None, data: Path | None, file: IO[bytes]) -> None:
    """Store the events of FILE: JSON lines or an array, packed by gzip or not; - is standard input.

    Signatures are checked, and the limits of the configuration hold. What is not taken is counted,
    the first with reasons; when nothing was, the exit code is 1.
    """
    from bunker_relay.store.outcome import StoreError
    from bunker_relay.store.tools.texts import texts
    from bunker_relay.store.tools.transfer import Tally, import_events

    refusal = _limits(tool_config(config_file, data))
    database, shown = find_database(config_file, data, create=True)
    known = file.seekable()
    size = file.seek(0, os.SEEK_END) if known else 0
    if known:
        file.seek(0)
    tally = Tally()
    progress = _Progress("Importing")
    try:
        with progress.bar(size):
            for latest in import_events(database, texts(file), refusal):
                tally = latest
                progress.to(file.tell() if known else 0)
    except StoreError as error:
        raise click.ClickException(f"{shown}: {error}") from None
    except (
        OSError,
        EOFError,
        UnicodeError,
    ) as error:  # a damaged archive; what came before it is in
        raise click.ClickException(f"{file.name}: {error}") from None
    for number, reason in tally.reasons:
        click.echo(f"line {number}: {reason}", err=True)
    if tally.refused > len(tally.reasons):
        click.echo(f"and {tally.refused - len(tally.reasons)} more", err=True)
    click.echo(
        f"{tally.saved} saved, {tally.known} known or superseded, {tally.refused} refused", err=True
    )
    if not tally.saved and not tally.known:
        sys.exit(1)


@click.command()
@tool_options
@click.option("--keep-days", type=click.IntRange(0), help="Delete what is older; 0 keeps all.")
def vacuum(config_file: Path | None, data: Path | None, keep_days: int | None) -> None:
    """Delete what is expired or too old and give the space back to the disk."""
    import time

    from bunker_relay.store.outcome import StoreError
    from bunker_relay.store.tools.transfer import vacuum as vacuum_database

    database, shown = find_database(config_file, data)
    if keep_days is None:
        keep_days = load_or_fail(config_file, {}).store.keep_days
    progress = _Progress("Writing the database anew")
    try:
        with progress.bar(100):
            before, after = vacuum_database(
                database, int(time.time()), keep_days, lambda part: progress.to(round(100 * part))
            )
    except StoreError as error:
        raise click.ClickException(f"{shown}: {error}") from None
    click.echo(f"{before} bytes before, {after} after", err=True)


@click.command()
@tool_options
@click.option("--deep", is_flag=True, help="Search raw pages too; may find what was deleted.")
@click.argument("output", type=click.File("wb", lazy=True))
def salvage(config_file: Path | None, data: Path | None, deep: bool, output: IO[bytes]) -> None:
    """Take out of a damaged SQLite file what can be read, into OUTPUT, JSON lines.

    Stop the relay first. Each event still has its signature, so none is wrong. Then move the
    damaged file away and `import` OUTPUT.
    """
    from bunker_relay.store.outcome import StoreError
    from bunker_relay.store.tools.salvage import Tally
    from bunker_relay.store.tools.salvage import salvage as find

    database, shown = find_database(config_file, data)
    if not isinstance(database, Path):
        raise click.ClickException("PostgreSQL has tools of its own; salvage is for SQLite's file")
    tally = Tally()
    try:
        for text in find(database, tally, deep=deep):
            output.write(text + b"\n")
    except (StoreError, OSError) as error:
        raise click.ClickException(f"{shown}: {error}") from None
    click.echo(f"{tally.saved} events found, {tally.lost} rows can't be read", err=True)
    if not tally.saved:
        sys.exit(1)


commands: Final[Sequence[click.Command]] = (export_command, import_command, vacuum, salvage)


def _limits(config: "Config") -> "Callable[[Event], str]":
    """Return what says why an event is beyond the limits that clients are held to, or ""."""
    limits = config.limits

    def refusal(event: "Event") -> str:
        size = len(event.to_json())
        if size > limits.max_message_bytes:
            return f"too large, {size} bytes: over limits.max_message_bytes"
        if len(event.tags) > limits.max_event_tags:
            return f"too large, {len(event.tags)} tags: over limits.max_event_tags"
        if len(event.content) > limits.max_content_length:
            return "too large: content over limits.max_content_length"
        return ""

    return refusal


class _Progress:
    """A progress bar on standard error, so that standard output stays data."""

    def __init__(self, label: str) -> None:
        self.done = 0
        self._label = label
        self._bar: Any = None

    @contextmanager
    def bar(self, length: int) -> Iterator[None]:
        """Have a bar, shown once it moves; a `length` of 0 is not known beforehand."""
        self._bar = click.progressbar(length=length or 1, label=self._label, file=sys.stderr)
        with ExitStack() as self._shown:
            yield

    def to(self, done: int) -> None:
        """Move the bar to `done`."""
        if not self._bar.entered:
            self._shown.enter_context(self._bar)
        self._bar.update(done - self.done)
        self.done = done
