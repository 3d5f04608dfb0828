"""The console on the command line: options of `bunker signer run`, and `bunker signer console`."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from bunker_core.errors import BunkerError
from bunker_core.local.extras import how_to_install
from bunker_signer.cli.options import data_option, one_line_errors, show_uri
from bunker_signer.cli.options.asking import push_option, push_services_of

if TYPE_CHECKING:
    from bunker_signer.console.auth.address import Address
    from bunker_signer.console.server import Listening
    from bunker_signer.store.accounts import Accounts

Command = TypeVar("Command", bound=Callable[..., Any])


def console_options(command: Command) -> Command:
    """Add the console's options to `bunker signer run`."""
    file = click.Path(path_type=Path, dir_okay=False)
    for option in reversed(
        (
            click.option(
                "--console",
                metavar="HOST:PORT",
                help="Serve the web page where requests are answered.  [default: no]",
            ),
            click.option(
                "--console-url",
                default="",
                metavar="URL",
                help="Where browsers reach it, if that is not HOST:PORT: https://bunker.example",
            ),
            click.option(
                "--console-proxy",
                "console_proxies",
                multiple=True,
                metavar="ADDRESS",
                help="A reverse proxy in front of it, or its network: X-Forwarded-For is believed "
                "from there. Repeatable.",
            ),
            push_option,
            click.option(
                "--console-password-file",
                "console_password",
                type=file,
                help="Bind the first device by the password in this file, while none is bound: for "
                "systems that show their owner one.",
            ),
            click.option("--console-cert", type=file, help="TLS certificate chain (PEM)."),
            click.option("--console-key", type=file, help="The certificate's private key (PEM)."),
        )
    ):
        command = option(command)
    return command


@contextmanager
def listening(
    listen: str | None,
    url: str,
    proxies: tuple[str, ...],
    certificate: Path | None,
    private_key: Path | None,
    push_services: tuple[str, ...] = (),
    password: Path | None = None,
) -> "Iterator[Listening | None]":
    """Yield the bound console, or None when none is wanted; raises BunkerError."""
    allowed = push_services_of(push_services)
    if listen is None:
        if any((url, proxies, certificate, private_key, push_services, password)):
            raise BunkerError("--console HOST:PORT is missing")
        yield None
        return
    # Imported here: a signer without a console needs none of it.
    try:
        from bunker_signer.console.server import ConsoleConfig, Listening

        config = ConsoleConfig(listen, url, proxies, certificate, private_key, allowed, password)
        page = Listening(config)
    except ModuleNotFoundError as missing:
        raise BunkerError(
            f"--console needs {missing.name}: {how_to_install('nostr-bunker-signer', 'console')}"
        ) from None
    with page:
        yield page


def announce(address: "Address", accounts: "Accounts", *, pairs: bool, qr: bool) -> None:
    """Print where the console is, and a link that binds a device.

    The link is printed for a person who looks (`pairs`), if they want it as a QR code or no device
    is bound at all: in a log it would be an open door for ten minutes at each start.
    """
    click.echo(f"console {address.origin}")
    if not address.secure and not address.local:
        click.echo(
            "        not encrypted: whoever is on this network can read and answer along; "
            "docs/console.md tells how to have HTTPS",
            err=True,
        )
    if pairs and (qr or not accounts.devices()):
        link = f"{address.origin}/bind/{accounts.new_link(int(time.time()))}"
        click.echo("bind one device with this link, good for 10 minutes:")
        show_uri(link, qr)


@click.command(name="console")
@data_option
@click.option("--qr/--no-qr", default=True, show_default=True, help="Show the link as a QR code.")
def console_command(data: Path, qr: bool) -> None:
    """Print a link that binds one device to the console, good once, for ten minutes."""
    with one_line_errors():
        try:
            from bunker_signer.console.server import new_link
        except ModuleNotFoundError as missing:
            raise BunkerError(
                f"this needs {missing.name}: {how_to_install('nostr-bunker-signer', 'console')}"
            ) from None
        show_uri(new_link(data, int(time.time())), qr)


commands: Final[Sequence[click.Command]] = (console_command,)
