"""`bunker signer requests, approve, deny`: answering from another shell."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from bunker_signer.approval import Verdict
from bunker_signer.cli.clients import json_option
from bunker_signer.cli.options import data_option, expires_option, one_line_errors, uses_option


@click.command()
@data_option
@json_option
def requests(data: Path, as_json: bool) -> None:
    """List the requests that wait for an answer."""
    from bunker_signer.control.protocol import send

    with one_line_errors():
        for item in send(data, "requests"):
            if as_json:
                click.echo(json.dumps(item))
            else:
                click.echo(f"{item['id']}  {item['left']} s left  {item['text']}")


@click.command()
@data_option
@click.argument("request_id")
@click.option(
    "--always", is_flag=True, help="From now on without asking, for this method and kind."
)
@expires_option
@uses_option
def approve(
    data: Path, request_id: str, always: bool, expires: int | None, uses: int | None
) -> None:
    """Let the request REQUEST_ID have the key, once; with a limit it becomes a grant."""
    grant = always or expires is not None or uses is not None
    verdict = Verdict.ALWAYS if grant else Verdict.ONCE
    _answer(data, request_id, verdict, seconds=expires, uses=uses)


@click.command()
@data_option
@click.argument("request_id")
@click.option("--never", is_flag=True, help="From now on without asking, for this method and kind.")
def deny(data: Path, request_id: str, never: bool) -> None:
    """Refuse the request REQUEST_ID."""
    _answer(data, request_id, Verdict.NEVER if never else Verdict.DENY)


commands: Final[Sequence[click.Command]] = (requests, approve, deny)


def _answer(
    data: Path,
    request_id: str,
    verdict: Verdict,
    seconds: int | None = None,
    uses: int | None = None,
) -> None:
    from bunker_signer.control.protocol import send

    with one_line_errors():
        said = send(
            data, "answer", id=request_id, verdict=verdict.value, seconds=seconds, uses=uses
        )
        word = "approved" if verdict in (Verdict.ONCE, Verdict.ALWAYS) else "denied"
        click.echo(f"{word}: {said['permission']} ({said['count']})")
