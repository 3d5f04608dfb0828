"""`bunker sign`: ask a remote signer from the command line."""

import asyncio
import json
import sys
from typing import Any

import click

from bunker_core.errors import BunkerError


@click.command()
@click.option("--uri", required=True, metavar="bunker://...", help="As the signer printed it.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=150.0,
    show_default=True,
    help="Seconds to wait for the signature; its owner may have to approve it.",
)
def sign(uri: str, timeout: float) -> None:
    """Read an event as JSON on standard input and print it signed.

    The event needs `kind`; `content`, `tags` and `created_at` have defaults.
    """
    try:
        value = json.load(sys.stdin)
    except (ValueError, RecursionError):
        raise click.ClickException("standard input is not JSON; give an event") from None
    try:
        click.echo(asyncio.run(_sign(uri, value, timeout)))
    except BunkerError as error:
        raise click.ClickException(str(error)) from None


async def _sign(uri: str, value: Any, timeout: float) -> str:
    from bunker_client.call import REQUEST_TIMEOUT
    from bunker_client.remote_signer import RemoteSigner
    from bunker_core.event import parse_template
    from bunker_core.nip46 import ClientMetadata

    template = parse_template(value)  # before anything is sent

    def show(url: str) -> None:
        click.echo(f"approve at {url}", err=True)

    metadata = ClientMetadata(name="bunker sign")
    async with RemoteSigner.from_uri(
        uri,
        metadata=metadata,
        timeout=min(timeout, REQUEST_TIMEOUT),
        approval_timeout=timeout,
        on_auth_url=show,
    ) as signer:
        event = await signer.request_signature(template)
    return event.to_json().decode()
