"""`bunker relay run, config, check`: the relay itself."""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from bunker_relay.cli.options import load_config, settings


@click.command()
@settings
def run(config_file: Path | None, **flags: Any) -> None:
    """Run a relay until Ctrl+C.

    Prints `relay listening on ws://HOST:PORT` when clients can connect. SIGHUP reads the
    configuration again: lists, limits and rates change, the address and the data directory stay.
    """
    gc.disable()  # what is loaded stays; `server` turns it on when the relay has started
    from bunker_relay.config.sources import ConfigError
    from bunker_relay.http.server import serve
    from bunker_relay.nodes.exclusive import StartError

    try:
        serve(lambda: load_config(config_file, flags))
    except (ConfigError, StartError) as error:
        raise click.ClickException(str(error)) from None
    finally:
        gc.enable()


@click.command()
@settings
def config(config_file: Path | None, **flags: Any) -> None:
    """Print the configuration as it would be used, in TOML.

    Flags win over BUNKER_RELAY_* variables (BUNKER_RELAY_LIMITS__MAX_LIMIT=100), these over the
    file, the file over the defaults.
    """
    from bunker_relay.config.sources import ConfigError, to_toml

    try:
        click.echo(to_toml(load_config(config_file, flags)), nl=False)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None


@click.command()
@click.argument("url")
@click.option("--timeout", default=10.0, show_default=True, help="Seconds to wait for it all.")
def check(url: str, timeout: float) -> None:
    """Send a signing request through the relay at URL and back, and say what is wrong."""
    import asyncio

    from bunker_core.describe import plain
    from bunker_relay.http.check import check_relay
    from bunker_relay.http.probe import ProbeError

    try:
        lines = asyncio.run(check_relay(url, timeout))
    except ProbeError as error:
        # A relay's own words are in it.
        raise click.ClickException(plain.text(f"{url}: {error}")) from None
    for line in lines:
        click.echo(line)


commands: Final[Sequence[click.Command]] = (run, config, check)
