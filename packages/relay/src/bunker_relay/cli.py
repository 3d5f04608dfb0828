"""`bunker relay`: the command line of the relay."""

from pathlib import Path

import click


@click.group()
def relay() -> None:
    """Run your own Nostr relay."""


@relay.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=7777,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 picks a free one.",
)
@click.option(
    "--data",
    default=Path("relay-data"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for what the relay keeps; made if it is not there.",
)
def run(host: str, port: int, data: Path) -> None:
    """Run a relay until Ctrl+C.

    Prints `relay listening on ws://HOST:PORT` when clients can connect.
    """
    # Imported here: `--help` and other commands need none of it.
    from bunker_relay.config import Config
    from bunker_relay.server import StartError, serve

    try:
        serve(Config(host=host, port=port, data=data))
    except StartError as error:
        raise click.ClickException(str(error)) from error
