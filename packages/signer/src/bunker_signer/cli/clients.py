"""`bunker signer clients, grants, grant, revoke, rename`: who may do what.

They work on the database, whether the signer runs or not; it looks there for every request.
"""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from bunker_core.errors import BunkerError
from bunker_signer.cli.options import (
    any_key_option,
    data_option,
    database_of,
    database_option,
    expires_option,
    one_line_errors,
    operator,
    parse_grant,
    rate_option,
    uses_option,
)
from bunker_signer.policy import Effect, Grant, Rate
from bunker_signer.process.plural import counted

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from bunker_signer.store.clients import Client

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


@click.command("clients")
@data_option
@any_key_option
@json_option
@database_option
def list_clients(data: Path, key_name: str | None, as_json: bool, database: str) -> None:
    """List the paired clients."""
    from bunker_signer.store import clients

    with one_line_errors(), database_of(data, database) as opened:
        with opened.read() as connection:
            found = clients.every(connection, key_name)
        if not found and not as_json:
            click.echo("no client is paired; `bunker signer pair` invites one", err=True)
        for item in found:
            if as_json:
                click.echo(
                    json.dumps(
                        {
                            "key": item.key_name,
                            "pubkey": item.pubkey,
                            "name": item.metadata.name,
                            "url": item.metadata.url,
                            "relays": item.relays,
                            "requested": item.requested,
                            "paired_at": item.paired_at,
                            "last_seen": item.last_seen,
                        }
                    )
                )
                continue
            name = item.metadata.name or "(no name)"
            click.echo(
                f"{item.pubkey}  {name}  key {item.key_name}  last seen {_time(item.last_seen)}"
            )


@click.command("grants")
@data_option
@click.argument("client")
@any_key_option
@json_option
@database_option
def list_grants(
    data: Path, client: str, key_name: str | None, as_json: bool, database: str
) -> None:
    """List what CLIENT may do without asking.

    CLIENT is its name, or the beginning of its pubkey.
    """
    from bunker_signer.store import grants

    with one_line_errors(), database_of(data, database) as opened, opened.read() as connection:
        found = _find(connection, client, key_name)
        held = grants.of(connection, found.key_name, found.pubkey)
        if not held and not as_json:
            click.echo(f"{_name(found)} has no grants: all that needs the key is asked", err=True)
        for grant in held:
            if as_json:
                click.echo(json.dumps({"id": grant.id, **_facts(grant)}))
            else:
                click.echo(f"{grant.id:4}  {_words(grant)}")


@click.command("grant")
@data_option
@click.argument("client")
@click.argument("permission")
@any_key_option
@click.option("--deny", is_flag=True, help="Rule it out: it is refused without asking.")
@expires_option
@uses_option
@rate_option
@database_option
def add_grant(
    data: Path,
    client: str,
    permission: str,
    key_name: str | None,
    deny: bool,
    expires: int | None,
    uses: int | None,
    rate: Rate | None,
    database: str,
) -> None:
    """Let CLIENT do PERMISSION without asking.

    CLIENT is its name, or the beginning of its pubkey. PERMISSION is a method, with a kind or a
    peer if it is for that one only: sign_event:1, nip44_decrypt, nip44_decrypt:npub1...
    """
    from bunker_signer.store import audit_log, grants

    with one_line_errors(), database_of(data, database) as opened:
        now = int(time.time())
        effect = Effect.DENY if deny else Effect.ALLOW
        grant = parse_grant(permission, effect, now, expires, uses, rate)
        with opened.write() as connection:
            found = _find(connection, client, key_name)
            grants.put(connection, found.key_name, found.pubkey, grant, now)
            audit_log.append(
                connection,
                now,
                "grant",
                found.key_name,
                client_pubkey=found.pubkey,
                method=grant.method,
                param=grant.param or "",
                outcome=effect.value,
                decided_by=operator(),
            )
        click.echo(f"{_name(found)}: {_words(grant)}")


@click.command()
@data_option
@click.argument("client")
@click.argument("grant_id", type=int, required=False)
@any_key_option
@database_option
def revoke(
    data: Path, client: str, grant_id: int | None, key_name: str | None, database: str
) -> None:
    """End the session of CLIENT, or take one grant away.

    CLIENT is its name, or the beginning of its pubkey; GRANT_ID is the number in `grants`.
    """
    from bunker_signer.store import audit_log, clients, grants

    with one_line_errors(), database_of(data, database) as opened:
        with opened.write() as connection:
            found = _find(connection, client, key_name)
            held = {item.id: item for item in grants.of(connection, found.key_name, found.pubkey)}
            action, facts = "revoke", {"param": found.metadata.name}
            if grant_id is None:
                clients.remove(connection, found.key_name, found.pubkey)
            elif grant_id in held:
                grants.remove(connection, grant_id)
                action = "revoke grant"
                facts = {"method": held[grant_id].method, "param": held[grant_id].param or ""}
            else:
                raise BunkerError(f"{client} has no grant {grant_id}; `grants` lists them")
            audit_log.append(
                connection,
                int(time.time()),
                action,
                found.key_name,
                client_pubkey=found.pubkey,
                decided_by=operator(),
                **facts,
            )
        what = "session ended" if grant_id is None else f"grant {grant_id} taken away"
        click.echo(f"{_name(found)}: {what}")


@click.command()
@data_option
@click.argument("client")
@click.argument("name")
@any_key_option
@database_option
def rename(data: Path, client: str, name: str, key_name: str | None, database: str) -> None:
    """Call CLIENT by NAME from now on, whatever it calls itself."""
    from bunker_signer.store import clients

    with one_line_errors(), database_of(data, database) as opened, opened.write() as connection:
        found = _find(connection, client, key_name)
        clients.rename(connection, found.key_name, found.pubkey, name)
        click.echo(f"{found.pubkey}  {name}")


commands: Final[Sequence[click.Command]] = (list_clients, list_grants, add_grant, revoke, rename)


def _find(connection: "Connection", text: str, key_name: str | None) -> "Client":
    """Return the one client that is meant by a name or the beginning of a pubkey."""
    from bunker_signer.store import clients

    found = [
        item
        for item in clients.every(connection, key_name)
        if item.pubkey.startswith(text.lower()) or item.metadata.name == text
    ]
    if not text or not found:
        raise BunkerError(f"no client {text!r}; `bunker signer clients` lists them")
    if len(found) > 1:
        raise BunkerError(f"{text!r} is more than one client; use more of the pubkey, or --key")
    return found[0]


def _facts(grant: Grant) -> dict[str, object]:
    return {
        "method": grant.method,
        "param": grant.param,
        "effect": grant.effect.value,
        "expires_at": grant.expires_at,
        "uses_left": grant.uses_left,
        "rate": [grant.rate.count, grant.rate.seconds] if grant.rate else None,
    }


def _name(client: "Client") -> str:
    return client.metadata.name or f"{client.pubkey[:8]}…"


def _words(grant: Grant) -> str:
    words = f"{grant.effect.value} {grant.method}" + (f":{grant.param}" if grant.param else "")
    if grant.expires_at is not None:
        words += f" until {_time(grant.expires_at)}"
    if grant.uses_left is not None:
        words += f", {counted(grant.uses_left, 'use')} left"
    if grant.rate is not None:
        words += f", at most {grant.rate.count} in {grant.rate.seconds} s"
    return words


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
