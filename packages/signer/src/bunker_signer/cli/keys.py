"""`bunker signer lock, unlock, pause, resume, panic, status`: the states of keys."""

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from bunker_core.errors import BunkerError
from bunker_signer.cli.clients import json_option
from bunker_signer.cli.options import (
    any_key_option,
    data_option,
    database_of,
    database_option,
    one_line_errors,
    operator,
)
from bunker_signer.process.plural import counted


@click.command()
@data_option
@any_key_option
def lock(data: Path, key_name: str | None) -> None:
    """Lock keys: requests wait for the unlock.

    What opens them is wiped from memory.
    """
    _tell(data, "lock", key_name)


@click.command()
@data_option
@any_key_option
@click.option("--passphrase", "asked", is_flag=True, help="Ask for a passphrase.")
@click.option("--passphrase-stdin", is_flag=True, help="Read the passphrase from standard input.")
def unlock(data: Path, key_name: str | None, asked: bool, passphrase_stdin: bool) -> None:
    """Unlock keys by the master key, or by a passphrase."""
    from bunker_core.keys import wipe
    from bunker_signer.nse import harden_process

    secret: bytearray | None = None
    if asked or passphrase_stdin:
        harden_process()  # no other process of this user reads along
    if passphrase_stdin:
        secret = bytearray(sys.stdin.buffer.readline().rstrip(b"\r\n"))
    elif asked:
        secret = bytearray(click.prompt("Passphrase", hide_input=True, err=True).encode())
    try:
        _tell(data, "unlock", key_name, secret)
    finally:
        if secret:
            wipe(secret)


@click.command()
@data_option
@any_key_option
def pause(data: Path, key_name: str | None) -> None:
    """Pause keys: requests are refused until `resume`."""
    _tell(data, "pause", key_name)


@click.command()
@data_option
@any_key_option
def resume(data: Path, key_name: str | None) -> None:
    """End a pause."""
    _tell(data, "resume", key_name)


@click.command()
@data_option
@database_option
def panic(data: Path, database: str) -> None:
    """Lock all keys, forget all apps and devices, at once.

    Unused URIs are worthless afterwards, what waits is denied, and the console lets nobody in: not
    its devices, not its passkeys. Nothing is asked. Works on a stopped signer too: it will start
    with its keys locked. Only `bunker signer unlock` ends it.
    """
    from bunker_signer.control.protocol import NotRunning, send
    from bunker_signer.key.keystore import user_key_names
    from bunker_signer.key.panic import empty_console, revoke_everything

    with one_line_errors():
        try:
            result: dict[str, Any] = send(data, "panic")
        except NotRunning:
            with database_of(data, database) as opened:
                names = list(user_key_names(data))
                counts = revoke_everything(opened, names, operator(), int(time.time()))
                result = {"keys": names, **counts, **empty_console(data)}
        click.echo(
            f"locked {', '.join(result['keys'])}; "
            f"revoked {counted(result['sessions'], 'session')} and "
            f"{counted(result['secrets'], 'unused URI')}; forgot "
            f"{counted(result['devices'], 'device')} and {counted(result['passkeys'], 'passkey')}; "
            "`bunker signer unlock` makes the keys usable again"
        )


@click.command()
@data_option
@json_option
def status(data: Path, as_json: bool) -> None:
    """Show the running signer's keys and relays."""
    from bunker_signer.control.protocol import send

    with one_line_errors():
        result = send(data, "status")
        if as_json:
            click.echo(json.dumps(result))
            return
        for key in result["keys"]:
            waiting = f", {_waits(key['waiting'])} for the unlock" if key["waiting"] else ""
            click.echo(f"key    {key['npub']}  {key['name']}  {key['state']}{waiting}")
        for url, word in result["relays"].items():
            click.echo(f"relay  {url}  {word}")
        if off := result.get("clock_off", 0):
            side = "behind" if off > 0 else "ahead of"
            click.echo(f"clock  {abs(off)} s {side} the relays': set this machine's clock by NTP")
        click.echo(f"{_waits(result['waiting'])} for an answer")


commands: Final[Sequence[click.Command]] = (lock, unlock, pause, resume, panic, status)


def _waits(number: int) -> str:
    return f"{counted(number, 'request')} {'waits' if number == 1 else 'wait'}"


def _tell(data: Path, command: str, key_name: str | None, secret: bytearray | None = None) -> None:
    from bunker_signer.control.protocol import send

    arguments = {} if key_name is None else {"key": key_name}
    with one_line_errors():
        if not os.access(data, os.X_OK):
            raise BunkerError(f"{data} can't be entered")
        for name, state in send(data, command, secret, **arguments).items():
            click.echo(f"{name}  {state}")
