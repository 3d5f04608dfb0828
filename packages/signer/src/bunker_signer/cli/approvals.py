"""`bunker signer requests, approve, deny`: answering from another shell."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from bunker_core.errors import BunkerError
from bunker_signer.cli.clients import json_option
from bunker_signer.cli.options import (
    data_option,
    expires_option,
    one_line_errors,
    short_hex,
    uses_option,
)
from bunker_signer.request.approval import Verdict


@click.command()
@data_option
@json_option
def requests(data: Path, as_json: bool) -> None:
    """List the requests that wait for an answer."""
    from bunker_signer.control.protocol import send

    with one_line_errors():
        found = send(data, "requests")
        for item in found:
            if as_json:
                click.echo(json.dumps(item))
            else:
                click.echo(f"{item['id']}  {item['left']} s left  {item['text']}")
        if not found and not as_json:
            click.echo("no request waits for an answer", err=True)


@click.command()
@data_option
@click.argument("request_ids", metavar="REQUEST_ID...", nargs=-1, required=True)
@click.option(
    "--always", is_flag=True, help="From now on without asking, for this method and kind."
)
@expires_option
@uses_option
def approve(
    data: Path,
    request_ids: tuple[str, ...],
    always: bool,
    expires: int | None,
    uses: int | None,
) -> None:
    """Let requests have the key, once.

    With --always, --expires or --uses it becomes a grant: what is like it is not asked again.
    """
    grant = always or expires is not None or uses is not None
    verdict = Verdict.ALWAYS if grant else Verdict.ONCE
    _answer(data, request_ids, verdict, seconds=expires, uses=uses)


@click.command()
@data_option
@click.argument("request_ids", metavar="REQUEST_ID...", nargs=-1, required=True)
@click.option("--never", is_flag=True, help="From now on without asking, for this method and kind.")
def deny(data: Path, request_ids: tuple[str, ...], never: bool) -> None:
    """Refuse requests."""
    _answer(data, request_ids, Verdict.NEVER if never else Verdict.DENY)


commands: Final[Sequence[click.Command]] = (requests, approve, deny)


def _answer(
    data: Path,
    request_ids: Sequence[str],
    verdict: Verdict,
    seconds: int | None = None,
    uses: int | None = None,
) -> None:
    """Answer each; one that is over already does not keep the others waiting."""
    from bunker_signer.control.protocol import ControlError, NotRunning, send

    word = "approved" if verdict in (Verdict.ONCE, Verdict.ALWAYS) else "denied"
    rule = "" if verdict in (Verdict.ONCE, Verdict.DENY) else "; from now on without asking"
    failed: list[str] = []
    with one_line_errors():
        for request_id in request_ids:
            try:
                said = send(
                    data, "answer", id=request_id, verdict=verdict.value, seconds=seconds, uses=uses
                )
            except NotRunning:
                raise
            except ControlError as error:
                failed.append(str(error))
            else:
                many = "" if said["count"] == 1 else f", {said['count']} requests"
                click.echo(f"{word}: {short_hex(said['permission'])}{many}{rule}")
        if failed:
            raise BunkerError("\n".join(failed))
