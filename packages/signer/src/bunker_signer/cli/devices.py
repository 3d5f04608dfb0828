"""`bunker signer devices`: who may use the console, seen and changed from the machine itself."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from bunker_core.errors import BunkerError
from bunker_signer.cli.clients import json_option
from bunker_signer.cli.options import data_option, given_to, one_line_errors

if TYPE_CHECKING:
    from bunker_signer.store.accounts import Accounts


@click.group(invoke_without_command=True)
@click.pass_context
@data_option
@json_option
def devices(context: click.Context, data: Path, as_json: bool) -> None:
    """List the console's devices and passkeys; forget them; show a code for a device."""
    if context.invoked_subcommand is not None:
        return
    with one_line_errors(), _accounts(data) as accounts:
        found = [
            {"type": "device", "id": item.id, "name": item.name, "since": item.bound_at,
             "seen": item.seen_at}
            for item in accounts.devices()
        ]  # fmt: skip
        found += [
            {"type": "passkey", "id": _short(item.credential_id), "name": item.name,
             "since": item.created_at, "seen": None}
            for item in accounts.passkeys()
        ]  # fmt: skip
        for item in found:
            if as_json:
                click.echo(json.dumps(item))
                continue
            seen = f"  last seen {_date(item['seen'])}" if item["seen"] else ""
            name = "".join(c if c.isprintable() else "·" for c in str(item["name"]))
            click.echo(
                f"{item['type']:<8} {item['id']}  since {_date(item['since'])}{seen}  {name}"
            )
        if not found and not as_json:
            click.echo("no device is bound; `bunker signer console` makes a link", err=True)


@devices.command()
@click.pass_context
@data_option
@click.argument("ids", metavar="ID...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every device, link and passkey.")
def forget(context: click.Context, data: Path, ids: tuple[str, ...], everything: bool) -> None:
    """Lock devices out, and forget passkeys; a running signer obeys at once."""
    with one_line_errors(), _accounts(given_to(context, "data", data)) as accounts:
        if everything:
            bound, keys = accounts.empty()
            click.echo(f"forgot all: devices {bound}, passkeys {keys}, every unused link")
            return
        if not ids:
            raise BunkerError("name what to forget, or say --all; `bunker signer devices` lists it")
        unknown = []
        for name in ids:
            passkey = [
                item.credential_id
                for item in accounts.passkeys()
                if _short(item.credential_id) == name
            ]
            if not accounts.unbind(name) and not (passkey and accounts.remove_passkey(passkey[0])):
                unknown.append(name)
            else:
                click.echo(f"forgot {name}")
        if unknown:
            raise BunkerError(f"there is no device or passkey {', '.join(unknown)}")


@devices.command()
@click.pass_context
@data_option
def code(context: click.Context, data: Path) -> None:
    """Show a code, good once, for ten minutes.

    The console asks for it where a device that was bound before wants to bind another one, or to
    make the first passkey: it proves that you sit at the machine.
    """
    with one_line_errors(), _accounts(given_to(context, "data", data)) as accounts:
        click.echo(accounts.new_code(int(time.time())))


commands: Final[Sequence[click.Command]] = (devices,)


@contextmanager
def _accounts(data: Path) -> "Iterator[Accounts]":
    from bunker_signer.store.accounts import FILE_NAME, Accounts

    if not (data / FILE_NAME).exists():
        raise BunkerError(f"{data} has no console: start it with --console HOST:PORT")
    accounts = Accounts(data / FILE_NAME)
    try:
        yield accounts
    finally:
        accounts.close()


def _short(credential_id: bytes) -> str:
    return credential_id[:8].hex()


def _date(seconds: object) -> str:
    return datetime.fromtimestamp(int(str(seconds)), UTC).strftime("%Y-%m-%d %H:%M")
