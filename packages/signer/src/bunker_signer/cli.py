"""`bunker signer`: run the signer, pair clients with it."""

import asyncio
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from bunker_core.bunker_uri import (
    BunkerURI,
    NostrConnectURI,
    new_secret,
    parse_nostrconnect_uri,
)
from bunker_core.errors import BunkerError, InvalidURI
from bunker_core.nip46 import Permission, parse_permissions
from bunker_core.relay_url import parse_relay_url
from bunker_signer.policy import Profile, profile_permissions

DATABASE: Final = "signer.sqlite3"
LOCK: Final = "signer.lock"

_PROFILES: Final = [profile.value for profile in Profile]

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Directory of the sealed keys and the signer's database.",
)
profile_option = click.option(
    "--profile",
    type=click.Choice(_PROFILES),
    default=Profile.ASK.value,
    show_default=True,
    help="What a client that pairs may do: ask (nothing without asking), basic (sign notes, "
    "reactions and the like), full (sign, encrypt and decrypt everything).",
)
allow_option = click.option(
    "--allow",
    metavar="PERMISSIONS",
    default="",
    help="More that it may do, as NIP-46 writes it: sign_event:1,nip44_encrypt",
)
qr_option = click.option("--qr", is_flag=True, help="Show the URI as a QR code too.")


@click.group()
def signer() -> None:
    """Hold the key and sign for paired clients (NIP-46)."""


@signer.command()
@data_option
@click.option("--relay", "relays", multiple=True, required=True, metavar="URL", help="Repeatable.")
@click.option(
    "--master-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="BUNKER_MASTER_KEY_FILE",
    help="32 bytes, or 64 hex characters, that open the sealed keys. "
    "Without it: master.key in the data directory.",
)
@profile_option
@allow_option
@click.option(
    "--connect",
    "invitations",
    multiple=True,
    metavar="URI",
    help="Accept a client's nostrconnect:// URI; - reads it from standard input. Repeatable.",
)
@qr_option
@click.option("--verbose", is_flag=True, help="Log every request (no content) to standard error.")
def run(
    data: Path,
    relays: tuple[str, ...],
    master_key_file: Path | None,
    profile: str,
    allow: str,
    invitations: tuple[str, ...],
    qr: bool,
    verbose: bool,
) -> None:
    """Run the signer and print a bunker:// URI that pairs one client.

    Makes the keys on the first run. What no grant covers is asked at the terminal; without a
    terminal it is denied.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    with _one_line_errors():
        urls = tuple(dict.fromkeys(map(parse_relay_url, relays)))
        accepted = [_read_invitation(text) for text in invitations]
        granted = _permissions(profile, allow)
        with _locked(data):
            asyncio.run(_run(data, urls, master_key_file, granted, accepted, qr))


@signer.command()
@data_option
@profile_option
@allow_option
@qr_option
def pair(data: Path, profile: str, allow: str, qr: bool) -> None:
    """Print a fresh bunker:// URI that pairs one client with the running signer."""
    from bunker_signer.keyring import transport_pubkey
    from bunker_signer.store import Store

    with _one_line_errors():
        if not (data / DATABASE).exists():
            raise BunkerError(f"{data} holds no signer; start one with `bunker signer run`")
        pubkey = transport_pubkey(data)
        store = Store(data / DATABASE)
        try:
            secret = new_secret()
            store.add_secret(secret, _permissions(profile, allow), int(time.time()))
            _show(BunkerURI(pubkey, store.relays(), secret), qr)
        finally:
            store.close()


async def _run(
    data: Path,
    relays: tuple[str, ...],
    master_key_file: Path | None,
    granted: tuple[Permission, ...],
    invitations: list[NostrConnectURI],
    qr: bool,
) -> None:
    # Imported here: `bunker --help` and completion stay quick.
    from bunker_core.nip19 import encode_npub
    from bunker_core.pool import RelayPool
    from bunker_signer.agent import START_TIMEOUT, Agent
    from bunker_signer.approval import NobodyThere, TerminalApprover
    from bunker_signer.handler import Handler
    from bunker_signer.keyring import load_keys
    from bunker_signer.nse import harden_process
    from bunker_signer.store import Store

    harden_process()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)

    # Before a key is made: an unreachable relay leaves nothing behind.
    async with RelayPool(relays) as pool:
        await pool.connected(START_TIMEOUT)
    keys, opened_with = load_keys(data, master_key_file)
    store = Store(data / DATABASE)
    try:
        store.set_relays(relays)
        approver = TerminalApprover() if sys.stdin.isatty() else NobodyThere()
        handler = Handler(keys, store, approver)
        async with Agent(keys, store, handler, relays) as agent:
            click.echo(f"key    {encode_npub(keys.user.get_public_key())}")
            click.echo(f"       sealed with {opened_with}, memory {keys.user.memory_level.value}")
            for relay in relays:
                click.echo(f"relay  {relay}")
            for invitation in invitations:
                await agent.accept(invitation, granted)
                click.echo(f"paired client {invitation.client_pubkey}")
            click.echo("pair one client with this URI, good for 24 hours:")
            _show(agent.invite(new_secret(), granted), qr)
            serving = asyncio.create_task(agent.serve())
            waiting = asyncio.create_task(stopped.wait())
            await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if serving.done():
                serving.result()  # raises what ended it
            serving.cancel()
    finally:
        store.close()
        keys.transport.close()
        keys.user.close()


def _show(uri: BunkerURI, qr: bool) -> None:
    if qr:
        import segno

        segno.make(str(uri), error="l").terminal(compact=True)
    click.echo(str(uri))


def _permissions(profile: str, allow: str) -> tuple[Permission, ...]:
    extra = parse_permissions(allow)
    if allow and len(extra) != len(allow.split(",")):
        raise BunkerError(f"--allow {allow}: not a list like sign_event:1,nip44_encrypt")
    return (*profile_permissions(Profile(profile)), *extra)


def _read_invitation(text: str) -> NostrConnectURI:
    return parse_nostrconnect_uri(sys.stdin.readline() if text == "-" else text)


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    """Hold the data directory: two signers on it would both answer every request."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(data / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BunkerError(f"{data} can't be used: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise BunkerError(f"another signer is running on {data}; stop it first") from None
    try:
        yield
    finally:
        os.close(handle)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn what can go wrong into one line on standard error and exit code 1."""
    from bunker_signer.nse import NSEError

    try:
        yield
    except InvalidURI as error:
        raise click.ClickException(f"{error}; check the address") from None
    except (BunkerError, NSEError) as error:
        raise click.ClickException(str(error)) from None
