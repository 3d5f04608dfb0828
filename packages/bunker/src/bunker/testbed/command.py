"""`bunker testbed`: a relay and a signer for a test suite in any language."""

import json
import logging
import os
import secrets
import signal
import threading
from typing import Final

import click

from bunker import __version__

# Seconds between two looks at the parent. Standard input would tell at once, but a suite that
# starts us with an empty one would end us at once too.
_PARENT_INTERVAL: Final = 0.2


@click.command()
@click.option("--allow", metavar="PERMISSIONS", help="What a client may do. [default: everything]")
@click.option(
    "--profile",
    type=click.Choice(["open", "bunker"]),
    default="open",
    show_default=True,
    help="The relay's profile; bunker is signing alone, without a database.",
)
@click.option(
    "--api-port",
    type=click.IntRange(0, 65_535),
    default=0,
    help="Port of the HTTP API; 0 picks a free one.",
)
def testbed(allow: str | None, profile: str, api_port: int) -> None:
    """Run a relay and a signer for tests, with faults on demand over HTTP.

    Prints one line of JSON when both are ready: relay, uri, npub, pubkey, api. `api` is
    the address of the HTTP API, `api`/openapi.json its description. Ends with the
    process that started it, at SIGTERM, or at DELETE `api`/. Leaves no files.
    """
    parent = os.getppid()
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())

    from bunker.testbed import Testbed
    from bunker.testbed.api import API, create_app
    from bunker.testbed.server import HOST
    from bunker_relay import logs
    from bunker_relay.config import Log, LogLevel

    # A suite reads what we print, and the faults that it asked for are no news to it.
    logging.basicConfig(level=logging.CRITICAL)
    logs.configure(Log(level=LogLevel.ERROR))
    prefix = f"/{secrets.token_hex(16)}"  # no web page in a developer's browser can guess it
    with Testbed() as bed:
        relay = bed.relay(profile=profile)
        try:
            signer = bed.signer(allow=allow)
        except ValueError as error:
            raise click.ClickException(f"--allow {error}") from None
        app = create_app(API(bed, stopped.set), prefix, __version__)
        try:
            port = bed.serve(app, api_port)
        except OSError as error:
            raise click.ClickException(f"port {api_port}: {error.strerror}") from None
        line = {
            "relay": relay.url,
            "uri": signer.uri,
            "npub": signer.npub,
            "pubkey": signer.pubkey,
            "api": f"http://{HOST}:{port}{prefix}",
        }
        click.echo(json.dumps(line))
        while not stopped.wait(_PARENT_INTERVAL) and os.getppid() == parent:
            pass
