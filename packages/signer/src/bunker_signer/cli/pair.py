"""`bunker signer pair` and `announce`: how clients find the signer."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from bunker_core.describe import plain
from bunker_core.errors import BunkerError
from bunker_core.nips.bunker_uri import (
    UNPROTECTED,
    BunkerURI,
    new_secret,
    parse_nostrconnect_uri,
)
from bunker_core.nips.nip46 import format_permissions
from bunker_signer.cli.options import (
    allow_option,
    data_option,
    database_of,
    database_option,
    expires_option,
    granted,
    key_option,
    one_line_errors,
    profile_option,
    qr_option,
    show_uri,
)
from bunker_signer.policy import Grant, grants_of


@click.command()
@click.argument("invitation", required=False)
@data_option
@key_option
@profile_option
@allow_option
@click.option(
    "--allow-requested", is_flag=True, help="Grant what the nostrconnect:// URI asks for."
)
@expires_option
@qr_option
@database_option
def pair(
    invitation: str | None,
    data: Path,
    key_name: str,
    profile: str,
    allow: str,
    allow_requested: bool,
    expires: int | None,
    qr: bool,
    database: str,
) -> None:
    """Pair one client.

    Without INVITATION: print a fresh bunker:// URI. With it: accept a client's nostrconnect://
    URI, given as it is, as - (standard input), or as the image file of its QR code; the signer
    has to run.
    """
    with one_line_errors():
        grants = granted(profile, allow)
        if invitation is not None:
            _accept(data, key_name, invitation, grants, allow_requested, expires)
            return
        if allow_requested:
            raise BunkerError(
                "--allow-requested needs a nostrconnect:// URI that requests something"
            )
        _invite(data, key_name, _limited(grants, expires), qr, database)


def _invite(data: Path, key_name: str, grants: Sequence[Grant], qr: bool, url: str) -> None:
    from bunker_signer.store import clients, settings

    with database_of(data, url) as database:
        pubkey = _remote_signer(data, key_name)
        secret = new_secret()
        with database.write() as connection:
            relays = settings.get_relays(connection)
            clients.add_secret(connection, key_name, secret, grants, relays, int(time.time()))
        show_uri(BunkerURI(pubkey, relays, secret), qr)


def _remote_signer(data: Path, key_name: str) -> str:
    from bunker_signer.key.keystore import remote_signer_pubkey, user_key_names

    if key_name not in user_key_names(data):
        raise BunkerError(
            f"there is no key {key_name} here; `bunker signer run --key {key_name}` makes it"
        )
    return remote_signer_pubkey(data, key_name)


def _accept(
    data: Path,
    key_name: str,
    invitation: str,
    grants: tuple[Grant, ...],
    allow_requested: bool,
    expires: int | None,
) -> None:
    from bunker_signer.control.protocol import send
    from bunker_signer.qr.read import read_qr

    if invitation == "-":
        invitation = sys.stdin.readline()
    elif "://" not in invitation:
        if not Path(invitation).is_file():
            raise BunkerError(f"{invitation} is neither a nostrconnect:// URI nor an image file")
        invitation = read_qr(Path(invitation))
    if invitation.strip().startswith("bunker://"):
        raise BunkerError("a bunker:// URI is what a signer shows; give it to the app instead")
    uri = parse_nostrconnect_uri(invitation)
    if uri.secret is None:
        click.echo(f"warning: {UNPROTECTED}", err=True)
    if allow_requested:
        grants = (*grants, *grants_of(uri.permissions))
    elif uri.permissions:
        click.echo(f"it asks for {format_permissions(uri.permissions)}", err=True)
    said = [grant.to_json() for grant in _limited(grants, expires)]
    result = send(data, "accept", key=key_name, uri=invitation.strip(), grants=said)
    if not result["delivered"]:
        raise BunkerError(
            "nobody was listening, so the app is not paired: show its code again, and repeat"
        )
    click.echo(f"paired client {result['client']}")


def _limited(grants: Sequence[Grant], expires: int | None) -> tuple[Grant, ...]:
    if expires is None:
        return tuple(grants)
    return tuple(replace(grant, expires_at=int(time.time()) + expires) for grant in grants)


@click.command()
@data_option
@key_option
@click.option("--name", default="", help="What the signer calls itself.")
@click.option("--domain", default="", help="The domain that will serve the printed nostr.json.")
@click.option("--nostrconnect-url", default="", metavar="URL", help="Page for <nostrconnect> URIs.")
@click.option("--publish", is_flag=True, help="Publish the NIP-89 event on the signer's relays.")
@database_option
def announce(
    data: Path,
    key_name: str,
    name: str,
    domain: str,
    nostrconnect_url: str,
    publish: bool,
    database: str,
) -> None:
    """Print what makes the signer known to clients.

    That is the nostr.json (NIP-05) to serve at its domain; with --publish its NIP-89 event is
    published too.
    """
    from bunker_signer.control.protocol import send
    from bunker_signer.key.announce import well_known
    from bunker_signer.store import settings

    with one_line_errors():
        with database_of(data, database) as opened, opened.read() as connection:
            relays = settings.get_relays(connection)
        pubkey = _remote_signer(data, key_name)
        if publish:
            result = send(
                data,
                "announce",
                key=key_name,
                name=name,
                domain=domain,
                nostrconnect_url=nostrconnect_url,
            )
            for url, word in result["relays"].items():
                click.echo(f"{url}: {plain.line(word, 200)}", err=True)
        if domain:
            click.echo(f"to be served as https://{domain}/.well-known/nostr.json:", err=True)
        click.echo(json.dumps(well_known(pubkey, relays, nostrconnect_url), indent=2))


commands: Final[Sequence[click.Command]] = (pair, announce)
