"""`bunker signer audit`: looking back."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from bunker_core.describe import plain
from bunker_core.errors import BunkerError
from bunker_signer.cli.options import (
    Duration,
    any_key_option,
    data_option,
    database_of,
    database_option,
    given_to,
    one_line_errors,
    short_hex,
)

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from bunker_signer.store.audit_chain import AuditEntry


@click.group(invoke_without_command=True)
@click.pass_context
@data_option
@any_key_option
@click.option("--client", help="Only of this client: its name, or the beginning of its pubkey.")
@click.option("--method", help="Only of this method: sign_event, nip44_decrypt, ...")
@click.option(
    "--action", help="Only: request, pair, logout, grant, revoke, lock, unlock, panic, ..."
)
@click.option("--outcome", help="Only outcomes that start so: allowed, denied, locked, ...")
@click.option("--since", type=Duration(), help="Only of the last: 90s, 10m, 12h, 30d.")
@click.option("--last", type=click.IntRange(1), help="Only the last so many.")
@click.option("--json", "as_json", is_flag=True, help="Export as JSON lines, with the hashes.")
@database_option
def audit(
    ctx: click.Context,
    data: Path,
    key_name: str | None,
    client: str | None,
    method: str | None,
    action: str | None,
    outcome: str | None,
    since: int | None,
    last: int | None,
    as_json: bool,
    database: str,
) -> None:
    """Show what was decided: who, what, by which rule or person. Never a content."""
    if ctx.invoked_subcommand is not None:
        return
    from bunker_signer.store import audit_log

    after = None if since is None else int(time.time()) - since
    with one_line_errors(), database_of(data, database) as opened, opened.read() as connection:
        pubkey = None if client is None else _pubkey(connection, client)
        wanted = audit_log.AuditFilter(key_name, pubkey, method, action, outcome, after)
        if as_json:
            for entry in audit_log.entries(connection, wanted, last):
                click.echo(entry.to_json())
            return
        names: dict[str, tuple[tuple[int, str], ...]] = {}
        shown = False
        for entry in audit_log.entries(connection, wanted, last):
            shown = True
            pubkey = entry.client_pubkey
            if pubkey and pubkey not in names:
                names.update({pubkey: (), **audit_log.names(connection, [pubkey])})
            click.echo(_line(entry, names.get(pubkey, ())))
        if not shown:
            click.echo("nothing was decided yet, or nothing like this", err=True)


@audit.command()
@click.pass_context
@data_option
@click.option(
    "--file",
    "export",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Check an export instead.",
)
@click.option("--expect", metavar="HASH", help="The last hash of an earlier check: still there?")
@database_option
def verify(
    context: click.Context, data: Path, export: Path | None, expect: str | None, database: str
) -> None:
    """Find a removed, changed or re-ordered entry.

    Prints the last hash: note it elsewhere, and give it to --expect next time.
    """
    from bunker_signer.store import audit_log
    from bunker_signer.store.audit_chain import AuditEntry, ChainError
    from bunker_signer.store.audit_chain import verify as check

    data, database = given_to(context, "data", data), given_to(context, "database", database)
    with one_line_errors():
        if export is not None:
            lines = export.read_text().splitlines()
            entries = [AuditEntry.from_json(line) for line in lines]
            if expect is not None and expect not in {entry.hash for entry in entries}:
                raise ChainError("the entry noted before is not in the export")
            count, last = check(entries)
        else:
            with database_of(data, database) as opened, opened.read() as connection:
                count, last = audit_log.check(connection, expect)
        entries_shown = "1 entry" if count == 1 else f"{count} entries"
        click.echo(f"{entries_shown}, unbroken; the last is {last}")


commands: Final[Sequence[click.Command]] = (audit,)


def _pubkey(connection: "Connection", text: str) -> str:
    """Return the client that is meant: of those that are paired, or in the log alone by now."""
    from bunker_signer.store import audit_log, clients

    named = {item.pubkey for item in clients.every(connection) if item.metadata.name == text}
    logged = {item.client_pubkey for item in audit_log.entries(connection)} - {""}
    found = named or {pubkey for pubkey in logged if pubkey.startswith(text.lower())}
    if len(found) != 1:
        raise BunkerError(f"{text!r} is {'more than one' if found else 'no'} client in the log")
    return found.pop()


def _line(entry: "AuditEntry", names: tuple[tuple[int, str], ...]) -> str:
    at = datetime.fromtimestamp(entry.at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    words = [f"{entry.seq:6}", at, entry.action, entry.key_name]
    if entry.client_pubkey:
        # As it was called then; 8 + 8 characters are enough to tell two of one name apart.
        then = [name for seq, name in names if seq <= entry.seq] or [name for _, name in names]
        key = f"{entry.client_pubkey[:8]}…{entry.client_pubkey[-8:]}"
        words.append(f"{plain.line(then[-1], 40)} {key}" if then else key)
    if entry.method:
        words.append(entry.method + (f":{entry.param[:16]}" if entry.param else ""))
    if entry.event_id:
        words.append(entry.event_id[:8])
    words += [word for word in (entry.outcome, f"({entry.decided_by})") if word not in ("", "()")]
    return short_hex("  ".join(words))
