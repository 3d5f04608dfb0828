"""`bunker relay`: the command line of the relay."""

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bunker_relay.config import Config

# What takes long to import is imported where it is used: `--help` needs none of it.

_config_file = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="TOML file; `bunker relay config` prints one to start from.",
)
_data = click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Directory for what the relay keeps; made if it is not there.  [default: relay-data]",
)


def _settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that `run` and `config` share."""
    options = [
        _config_file,
        click.option("--host", help="Address to listen on.  [default: 127.0.0.1]"),
        click.option(
            "--port",
            type=click.IntRange(0, 65535),
            help="Port to listen on; 0 picks a free one.  [default: 7777]",
        ),
        _data,
        click.option(
            "--profile",
            type=click.Choice(["open", "private", "bunker"]),
            help="open: NIP-01 for everyone. private: signing for --signer, other kinds from"
            " allowed pubkeys. bunker: signing alone, no database.  [default: open]",
        ),
        click.option(
            "--signer",
            "signers",
            multiple=True,
            metavar="NPUB",
            help="Remote signer that this relay serves; kind 24133 is then for signers and their"
            " clients alone. Can be given several times.",
        ),
        click.option(
            "--workers",
            type=click.IntRange(1, 64),
            help="Processes that share the work, one for each core at most.  [default: 1]",
        ),
        click.option(
            "--owner",
            metavar="NPUB",
            help="Whose relay it is: may publish, and can't be banned. Administers nothing, as apps"
            " get signatures of this key.",
        ),
        click.option(
            "--admin",
            metavar="NPUB",
            help="Who may administer the relay from afar (NIP-86): a key that nothing else uses."
            "  [default: nobody]",
        ),
        click.option("--url", help="Public address, e.g. wss://relay.example.com (for AUTH)."),
        click.option("--name", help="Name shown to people."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group()
def relay() -> None:
    """Run your own Nostr relay, made for remote signing."""


@relay.command()
@_settings
def run(config_file: Path | None, **flags: Any) -> None:
    """Run a relay until Ctrl+C.

    Prints `relay listening on ws://HOST:PORT` when clients can connect. SIGHUP reads the
    configuration again: lists, limits and rates change, the address and the data directory stay.
    """
    gc.disable()  # what is loaded stays; `server` turns it on when the relay has started
    from bunker_relay.http.server import serve
    from bunker_relay.load import ConfigError
    from bunker_relay.nodes.claim import StartError

    try:
        serve(lambda: _load(config_file, flags))
    except (ConfigError, StartError) as error:
        raise click.ClickException(str(error)) from None
    finally:
        gc.enable()


@relay.command()
@_settings
def config(config_file: Path | None, **flags: Any) -> None:
    """Print the configuration as it would be used, in TOML.

    Flags win over BUNKER_RELAY_* variables (BUNKER_RELAY_LIMITS__MAX_LIMIT=100), these over the
    file, the file over the defaults.
    """
    from bunker_relay.load import ConfigError, to_toml

    try:
        click.echo(to_toml(_load(config_file, flags)), nl=False)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None


@relay.command()
@click.argument("url")
@click.option("--timeout", default=10.0, show_default=True, help="Seconds to wait for it all.")
def check(url: str, timeout: float) -> None:
    """Send a signing request through the relay at URL and back, and say what is wrong."""
    import asyncio

    from bunker_relay.http.check import check_relay
    from bunker_relay.http.probe import ProbeError

    try:
        lines = asyncio.run(check_relay(url, timeout))
    except ProbeError as error:
        raise click.ClickException(f"{url}: {error}") from None
    for line in lines:
        click.echo(line)


@relay.command("export")
@_config_file
@_data
@click.option(
    "--output", type=click.File("wb", lazy=True), default="-", help="File; - is the terminal."
)
def export_command(config_file: Path | None, data: Path | None, output: IO[bytes]) -> None:
    """Write all stored events as JSON lines, oldest first."""
    from bunker_relay.store.outcome import StoreError
    from bunker_relay.store.transfer import export_events

    database, shown = _database(config_file, data)
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


@relay.command("import")
@_config_file
@_data
@click.argument("file", type=click.File("rb"))
def import_command(config_file: Path | None, data: Path | None, file: IO[bytes]) -> None:
    """Store the events of FILE, JSON lines; - reads standard input. Signatures are checked."""
    from bunker_relay.store.outcome import StoreError
    from bunker_relay.store.transfer import Tally, import_events

    database, shown = _database(config_file, data, create=True)
    known = file.seekable()
    size = file.seek(0, os.SEEK_END) if known else 0
    if known:
        file.seek(0)
    tally = Tally()
    progress = _Progress("Importing")
    try:
        with progress.bar(size):
            for latest in import_events(database, file):
                tally = latest
                progress.to(file.tell() if known else 0)
    except StoreError as error:
        raise click.ClickException(f"{shown}: {error}") from None
    click.echo(
        f"{tally.saved} saved, {tally.known} known or superseded, {tally.refused} refused", err=True
    )


@relay.command()
@_config_file
@_data
@click.option("--keep-days", type=click.IntRange(0), help="Delete what is older; 0 keeps all.")
def vacuum(config_file: Path | None, data: Path | None, keep_days: int | None) -> None:
    """Delete what is expired or too old and give the space back to the disk."""
    import time

    from bunker_relay.store.outcome import StoreError
    from bunker_relay.store.transfer import vacuum as vacuum_database

    database, shown = _database(config_file, data)
    if keep_days is None:
        keep_days = _load_or_fail(config_file, {}).store.keep_days
    try:
        before, after = vacuum_database(database, int(time.time()), keep_days)
    except StoreError as error:
        raise click.ClickException(f"{shown}: {error}") from None
    click.echo(f"{before} bytes before, {after} after", err=True)


class _Progress:
    """A progress bar on standard error, so that standard output stays data."""

    def __init__(self, label: str) -> None:
        self.done = 0
        self._label = label
        self._bar: Any = None

    @contextmanager
    def bar(self, length: int) -> Iterator[None]:
        """Show the bar; a `length` of 0 is not known beforehand."""
        bar: Any = click.progressbar(length=length or 1, label=self._label, file=sys.stderr)
        with bar as self._bar:
            yield

    def to(self, done: int) -> None:
        """Move the bar to `done`."""
        self._bar.update(done - self.done)
        self.done = done


def _load(config_file: Path | None, flags: dict[str, Any]) -> "Config":
    from bunker_relay.load import load

    return load(config_file, **flags)


def _load_or_fail(config_file: Path | None, flags: dict[str, Any]) -> "Config":
    from bunker_relay.load import ConfigError

    try:
        return _load(config_file, flags)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None


def _database(
    config_file: Path | None, data: Path | None, *, create: bool = False
) -> tuple[Path | str, str]:
    """Return file or URL of the database, and what to call it in a message.

    A file has to be there unless it may be made.
    """
    from bunker_relay.store.store import FILE

    config = _load_or_fail(config_file, {"data": data})
    if config.database is not None:
        return config.database, "database"
    path = config.data / FILE
    if create:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise click.ClickException(f"{path.parent}: {error.strerror}") from None
    elif not path.is_file():
        raise click.ClickException(f"there is no relay database {path}; see --data")
    return path, str(path)
