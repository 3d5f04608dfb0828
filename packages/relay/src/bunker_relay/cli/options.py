"""What the commands of `bunker relay` share: options, the configuration, where the data lies."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bunker_core.errors import BunkerError
from bunker_core.local.home import data_home

if TYPE_CHECKING:
    from bunker_relay.config import Config

# What takes long to import is imported where it is used: `--help` needs none of it.

config_file_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="TOML file; `bunker relay config` prints one to start from.",
)
data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Directory for what the relay keeps; made if it is not there.  [default: relay-data]",
)

_tool_data = click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Directory of the relay.  [default: relay-data, else where `bunker up` has it]",
)


def settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that `run` and `config` share."""
    options = [
        config_file_option,
        click.option("--host", help="Address to listen on.  [default: 127.0.0.1]"),
        click.option(
            "--port",
            type=click.IntRange(0, 65535),
            help="Port to listen on; 0 picks a free one.  [default: 7777]",
        ),
        data_option,
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
        click.option(
            "--url",
            multiple=True,
            help="Public address, e.g. wss://relay.example.com (for AUTH). Can be given several"
            " times; a path in it is served too.",
        ),
        click.option("--name", help="Name shown to people."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def tool_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of what works beside a relay."""
    return config_file_option(_tool_data(command))


def tool_config(config_file: Path | None, data: Path | None) -> "Config":
    """Return the configuration, with the data where it is: also where `bunker up` has it."""
    config = load_or_fail(config_file, {"data": data})
    if "data" not in config.given and not config.data.exists():
        with suppress(BunkerError):  # nobody's home, and so nobody's `bunker up`
            if (up := default_data()).is_dir():
                return config.but(data=up)
    return config


def default_data() -> Path:
    """Return where `bunker up` has its relay (XDG base directory). Raises BunkerError."""
    return data_home() / "nostr-bunker" / "relay"


def load_config(config_file: Path | None, flags: dict[str, Any]) -> "Config":
    """Return the configuration; raises ConfigError."""
    from bunker_relay.config.sources import load

    return load(config_file, **flags)


def load_or_fail(config_file: Path | None, flags: dict[str, Any]) -> "Config":
    """Return the configuration; what is wrong with it ends the command."""
    from bunker_relay.config.sources import ConfigError

    try:
        return load_config(config_file, flags)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None


def find_database(
    config_file: Path | None, data: Path | None, *, create: bool = False
) -> tuple[Path | str, str]:
    """Return file or URL of the database, and what to call it in a message.

    A file has to be there unless it may be made.
    """
    from bunker_relay.store.store import FILE

    config = tool_config(config_file, data)
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
