"""`bunker phone`: the signer in a phone's browser, served and looked after."""

import asyncio
import sys
from pathlib import Path
from typing import Final

import click

from bunker_core.errors import BunkerError, InvalidEntity
from bunker_core.nips.nip19 import parse_pubkey
from bunker_core.nips.relay_url import parse_relay_url
from bunker_phone.app import Host, create_app
from bunker_phone.phones import Phones
from bunker_phone.server import listen, server
from bunker_phone.site import load

DEFAULT_PORT: Final = 7779

_data = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Directory of the list of phones; `bunker up --phone` has it in DATA/phone.",
)


@click.group()
def phone() -> None:
    """The signer that runs in a phone's browser; `bunker up --phone` starts all it needs."""


@phone.command("hash")
def hash_() -> None:
    """Print the hash of the page in this installation, as the phone shows it for itself."""
    try:
        click.echo(load().hash)
    except BunkerError as error:
        raise click.ClickException(str(error)) from None


@phone.command()
@_data
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=DEFAULT_PORT, show_default=True)
@click.option(
    "--url",
    help="How phones reach it, such as https://phone.example.org behind a proxy with TLS.  "
    "[default: http://localhost and the port]",
)
@click.option("--relay", "relays", multiple=True, required=True, help="Your relay; repeatable.")
def serve(data: Path, host: str, port: int, url: str | None, relays: tuple[str, ...]) -> None:
    """Serve the page beside a relay that is run by hand.

    A phone that joins is printed; make it one of the relay's `signers`.
    """
    try:
        site = load()
        listener = listen(host, port)
        with listener:
            origin = (url or f"http://localhost:{listener.getsockname()[1]}").rstrip("/")
            at = Host(
                origin,
                tuple(map(parse_relay_url, relays)),
                on_join=lambda pubkey: click.echo(f"joined {pubkey}"),
            )
            phones = Phones(data)
            click.echo(f"page {site.hash}")
            click.echo(f"phone page on {origin}/#join={phones.new_link()}")
            sys.stdout.flush()
            asyncio.run(server(create_app(site, phones, at)).serve(sockets=[listener]))
    except BunkerError as error:
        raise click.ClickException(str(error)) from None


@phone.command()
@_data
@click.option("--url", required=True, help="Where the page is served.")
def link(data: Path, url: str) -> None:
    """Print a link that lets one phone join, once, within 30 minutes."""
    try:
        click.echo(f"{url.rstrip('/')}/#join={Phones(data).new_link()}")
    except BunkerError as error:
        raise click.ClickException(str(error)) from None


@phone.command("list")
@_data
def list_(data: Path) -> None:
    """Print the phones that joined: pubkey and name."""
    try:
        for item in Phones(data).all():
            click.echo(f"{item.pubkey}  {item.name}")
    except BunkerError as error:
        raise click.ClickException(str(error)) from None


@phone.command()
@_data
@click.argument("pubkey")
def remove(data: Path, pubkey: str) -> None:
    """Let a phone be no signer of this relay any more: it was lost, or sold."""
    try:
        known = Phones(data).remove(parse_pubkey(pubkey))
    except InvalidEntity as error:
        raise click.ClickException(str(error)) from None
    except BunkerError as error:
        raise click.ClickException(str(error)) from None
    if not known:
        raise click.ClickException("no such phone has joined")
    click.echo("removed; a running relay takes it as a signer until `bunker up` is started again")
