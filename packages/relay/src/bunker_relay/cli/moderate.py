"""`bunker relay ban, unban, allow, disallow, list, delete`: who and what the relay takes.

They work on the machine and on nothing but the data directory, whether the relay runs or not.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from bunker_relay.cli.options import find_database, tool_config, tool_options

if TYPE_CHECKING:
    from bunker_core.filter import Filter
    from bunker_relay.event.lists import Lists
    from bunker_relay.event.moderation import Moderation

_MAX_KIND: Final = 65_535

_who = click.argument("npub", required=False)
_event = click.option("--event", "event_id", metavar="ID", help="An event: hex, note1 or nevent1.")
_ip = click.option("--ip", metavar="ADDRESS", help="An IP address or network: 192.0.2.0/24.")
_kind = click.option("--kind", type=click.IntRange(0, _MAX_KIND), help="A kind of events.")
_reason = click.option("--reason", default="", metavar="TEXT", help="Why, for your own list.")


@click.command()
@tool_options
@_who
@_event
@_ip
@_reason
def ban(
    config_file: Path | None,
    data: Path | None,
    npub: str | None,
    event_id: str | None,
    ip: str | None,
    reason: str,
) -> None:
    """Take nothing more from NPUB and hide what it wrote; or ban one event, or an address.

    Hidden events come back with `unban`. An event banned by --event is deleted. An address that is
    banned can't connect (an IPv6 address: its whole /64). A running relay takes it within a second.
    """
    _need(npub, event_id, ip)
    with _acting(config_file, data) as (lists, moderation):
        if npub is not None:
            count = moderation.ban_pubkey(_pubkey(npub), reason)
            click.echo(f"banned; {_events(count)} hidden")
        if event_id is not None:
            count = moderation.ban_event(_event_id(event_id), reason)
            click.echo(f"banned; {_events(count)} deleted")
        if ip is not None:
            address = _address(ip)
            with lists.change():
                lists.block_ip(address, reason)
            click.echo(f"{address} can't connect")


@click.command()
@tool_options
@_who
@_event
@_ip
def unban(
    config_file: Path | None,
    data: Path | None,
    npub: str | None,
    event_id: str | None,
    ip: str | None,
) -> None:
    """Lift a ban; what was hidden of NPUB is there again."""
    _need(npub, event_id, ip)
    with _acting(config_file, data) as (lists, moderation):
        if npub is not None:
            count = moderation.unban_pubkey(_pubkey(npub))
            click.echo(f"no longer banned; {_events(count)} back")
        with lists.change():
            if event_id is not None:
                lists.banned_events.pop(_event_id(event_id), None)
                click.echo("the event may be published again")
            if ip is not None:
                address = _address(ip)
                lists.unblock_ip(address)
                click.echo(f"{address} may connect")


@click.command()
@tool_options
@_who
@_kind
@_reason
def allow(
    config_file: Path | None,
    data: Path | None,
    npub: str | None,
    kind: int | None,
    reason: str,
) -> None:
    """Let NPUB publish on a private relay, or take a kind.

    A kind that was disallowed is taken again; one that was not makes the allowed kinds the only
    ones.
    """
    _need(npub, kind)
    with _acting(config_file, data) as (lists, _), lists.change():
        if npub is not None:
            lists.allowed_pubkeys[_pubkey(npub)] = reason
        if kind is not None:
            lists.allow_kind(kind)
    click.echo("allowed")


@click.command()
@tool_options
@_who
@_kind
def disallow(
    config_file: Path | None, data: Path | None, npub: str | None, kind: int | None
) -> None:
    """Take NPUB off the list of `allow`, or refuse a kind."""
    _need(npub, kind)
    with _acting(config_file, data) as (lists, _), lists.change():
        if npub is not None:
            lists.allowed_pubkeys.pop(_pubkey(npub), None)
        if kind is not None:
            lists.disallow_kind(kind)
    click.echo("no longer allowed")


@click.command("list")
@tool_options
@click.option("--json", "as_json", is_flag=True, help="As JSON, pubkeys in hex.")
def show_lists(config_file: Path | None, data: Path | None, as_json: bool) -> None:
    """Show who and what is banned and allowed."""
    with _acting(config_file, data) as (lists, _):
        if as_json:
            click.echo(json.dumps(lists.to_dict(), indent=1))
            return
        lines = list(_described(lists))
    click.echo("\n".join(lines) if lines else "nobody and nothing is banned or allowed")


@click.command()
@tool_options
@click.option("--id", "ids", multiple=True, metavar="ID", help="An event: hex, note1 or nevent1.")
@click.option("--author", "authors", multiple=True, metavar="NPUB", help="All of a pubkey.")
@click.option(
    "--filter", "filters", multiple=True, metavar="JSON", help="NIP-01: '{\"kinds\":[7]}'."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(
    config_file: Path | None,
    data: Path | None,
    ids: tuple[str, ...],
    authors: tuple[str, ...],
    filters: tuple[str, ...],
    yes: bool,
) -> None:
    """Delete stored events for good. Clients that have them may publish them again.

    `ban --event` and `ban NPUB` keep them away.
    """
    from bunker_core.filter import Filter
    from bunker_relay.store.tools.remove import count

    wanted = [_filter(text) for text in filters]
    if ids:
        wanted.append(Filter(ids=frozenset(map(_event_id, ids))))
    if authors:
        wanted.append(Filter(authors=frozenset(map(_pubkey, authors))))
    _need(*wanted)
    database, _ = find_database(config_file, data)
    with _acting(config_file, data) as (_, moderation):
        if not yes:
            found = count(database, wanted)
            click.confirm(f"delete {_events(found)}?", abort=True, err=True)
        click.echo(f"{_events(moderation.delete(wanted))} deleted")


commands: Final[Sequence[click.Command]] = (ban, unban, allow, disallow, show_lists, delete)


@contextmanager
def _acting(config_file: Path | None, data: Path | None) -> "Iterator[tuple[Lists, Moderation]]":
    """Open the lists of a relay; what goes wrong ends the command with one line."""
    from bunker_relay.config import Profile
    from bunker_relay.event.lists import FILE, Lists, ListsError
    from bunker_relay.event.moderation import Moderation
    from bunker_relay.store.outcome import StoreError
    from bunker_relay.store.store import FILE as DATABASE

    config = tool_config(config_file, data)
    if not config.data.is_dir():
        raise click.ClickException(f"there is no relay in {config.data}; see --data")
    database = config.database or config.data / DATABASE
    absent = isinstance(database, Path) and not database.is_file()
    try:
        lists = Lists(config.data / FILE)
        lists.protected = {**lists.protected, **config.protected}
        stored = None if absent or config.profile is Profile.BUNKER else database
        yield lists, Moderation(lists, config.data, stored)
    except (ListsError, StoreError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or config.data}: {error.strerror}") from None


def _need(*given: object) -> None:
    if all(item is None for item in given):  # of nothing too
        raise click.UsageError("name what is meant; see --help")


def _events(count: int) -> str:
    return "1 stored event" if count == 1 else f"{count} stored events"


def _pubkey(text: str) -> str:
    from bunker_core.errors import InvalidEntity
    from bunker_core.nips.nip19 import parse_pubkey

    try:
        return parse_pubkey(text)
    except InvalidEntity as error:
        raise click.ClickException(f"not a pubkey: {error}; give an npub or 64 hex") from None


def _event_id(text: str) -> str:
    from bunker_core.errors import InvalidEntity
    from bunker_core.event import is_hex
    from bunker_core.nips.nip19 import Nevent, Note, parse

    if is_hex(text, 64):
        return text
    try:
        entity = parse(text)
    except InvalidEntity as error:
        raise click.ClickException(f"not an event id: {error}; give note1 or 64 hex") from None
    if not isinstance(entity, Note | Nevent):
        raise click.ClickException("that names no event; give note1, nevent1 or 64 hex")
    return entity.event_id


def _address(text: str) -> str:
    from bunker_relay.event.lists import address

    try:
        return address(text)
    except ValueError as error:
        raise click.ClickException(f"not an IP address or network: {error}") from None


def _filter(text: str) -> "Filter":
    from bunker_core.errors import InvalidFilter
    from bunker_core.filter import parse_filter

    try:
        found = parse_filter(json.loads(text))
    except (ValueError, RecursionError, InvalidFilter) as error:
        raise click.ClickException(f"not a filter (NIP-01): {error}") from None
    if found.limit is not None:
        raise click.ClickException("leave limit out of the filter: all that matches is deleted")
    return found


def _described(lists: "Lists") -> Iterator[str]:
    from bunker_core.nips.nip19 import encode_npub

    def told(
        title: str, reasons: dict[str, str], name: Callable[[str], str] = str
    ) -> Iterator[str]:
        for key, reason in reasons.items():
            yield f"{title} {name(key)}" + (f": {reason}" if reason else "")

    yield from told("banned", lists.banned_pubkeys, encode_npub)
    yield from told("banned event", lists.banned_events)
    yield from told("banned address", lists.blocked_ips)
    yield from told("allowed", lists.allowed_pubkeys, encode_npub)
    for title, kinds in (("allowed", lists.allowed_kinds), ("refused", lists.disallowed_kinds)):
        if kinds:
            yield f"{title} kinds: {', '.join(map(str, sorted(kinds)))}"
