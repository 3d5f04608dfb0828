"""`bunker conformance`: judge a relay, a signer or a client."""

import asyncio
import json
import shlex
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import click

from bunker import __version__
from bunker.conformance.case import Case, Level, Outcome, Result
from bunker.conformance.report.junit import junit
from bunker.conformance.report.page import page
from bunker.conformance.report.run import Run, issue
from bunker.conformance.report.terminal import summary
from bunker.conformance.run import PATIENCE, in_order
from bunker_core.errors import BunkerError

_PROGRAM: Final = {"ignore_unknown_options": True}
_Results = Callable[[Sequence[Case]], AsyncIterator[Result]]


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what every judge takes."""
    for add in reversed(
        (
            click.option(
                "--case",
                "patterns",
                metavar="ID",
                multiple=True,
                help="Run these cases alone; a pattern like relay/size/* takes several.",
            ),
            click.option(
                "--level",
                type=click.Choice([level.value for level in Level]),
                default=Level.MUST.value,
                show_default=True,
                help="Exit with 1 when a case of this level or a stronger one fails.",
            ),
            click.option("--name", help="What the reports call the target."),
            click.option(
                "--patience",
                type=click.FloatRange(0.1, 50),
                default=PATIENCE,
                show_default=True,
                help="Seconds to wait for one answer.",
            ),
            click.option("--list", "listing", is_flag=True, help="List the cases, run none."),
            click.option("--issues", is_flag=True, help="Print a text for an issue per failure."),
            click.option("--json", "json_file", type=_file(), help="Write the run as JSON."),
            click.option("--junit", "junit_file", type=_file(), help="Write the run as JUnit XML."),
            click.option("--html", "html_file", type=_file(), help="Write the run as one page."),
        )
    ):
        command = add(command)
    return command


def _file() -> click.Path:
    return click.Path(dir_okay=False, writable=True, allow_dash=True, path_type=Path)


@click.group()
def conformance() -> None:
    """Judge any relay, signer or client of remote signing by the same cases."""


@conformance.command(context_settings=_PROGRAM)
@options
@click.argument("url")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def relay(url: str, command: tuple[str, ...], patience: float, **rest: Any) -> None:
    """Judge the relay at URL (ws:// or wss://).

    With a COMMAND after -- the kit starts the relay itself, and can judge what a restart does.
    """
    from bunker.conformance.relay import CASES
    from bunker.conformance.relay.kit import Target, running
    from bunker.conformance.run import run

    if not url.startswith(("ws://", "wss://")):
        raise click.BadParameter("a relay's URL begins with ws:// or wss://", param_hint="URL")

    async def results(cases: Sequence[Case]) -> AsyncIterator[Result]:
        async with running(Target(url, command, patience)) as make_kit:
            async for result in run(cases, make_kit, again=make_kit):
                yield result

    _judge("relay", rest.pop("name") or url, CASES, results, **rest)


@conformance.command(context_settings=_PROGRAM)
@options
@click.option(
    "--connect-only", is_flag=True, help="Run only what opens no key: pairing, ping, errors."
)
@click.option(
    "--accept",
    metavar="COMMAND",
    default="",
    help="A command that takes a nostrconnect:// URI, as {uri}.",
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="BUNKER_URI... | -- COMMAND")
def signer(
    words: tuple[str, ...], connect_only: bool, accept: str, patience: float, **rest: Any
) -> None:
    """Judge a remote signer.

    By a BUNKER_URI the kit pairs with a signer that runs; each further one allows a case that
    needs a fresh pairing. By a COMMAND the kit starts the signer itself, as often as it has to,
    on relays of its own that also go wrong: in its words {relay} is a relay's URL (a word with it
    is repeated for each relay) and {dir} an empty directory. It has to print its bunker:// URI.
    """
    from bunker.conformance.run import run
    from bunker.conformance.signer import CASES
    from bunker.conformance.signer.kit import Target, alone, running
    from bunker.conformance.signer.source import Commanded, Owned, Source

    if not words and not rest["listing"]:
        raise click.UsageError("give a bunker:// URI, or a command after --")
    uris = [word for word in words if word.startswith("bunker:")]
    if uris and len(uris) != len(words):
        raise click.UsageError("give bunker:// URIs or a command, not both")
    source: Source = Owned(uris) if uris else Commanded(words, tuple(shlex.split(accept)))
    target = Target(source, patience)

    async def results(cases: Sequence[Case]) -> AsyncIterator[Result]:
        async with running(target) as make_kit:
            async for result in run(cases, make_kit, again=alone(target)):
                yield result

    name = rest.pop("name") or ("the signer of a bunker:// URI" if uris else shlex.join(words))
    chosen = tuple(item for item in CASES if item.keyless or not connect_only)
    _judge("signer", name, chosen, results, **rest)


@conformance.command(context_settings=_PROGRAM)
@options
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="-- COMMAND")
def client(words: tuple[str, ...], patience: float, **rest: Any) -> None:
    """Judge a client library.

    COMMAND runs it: it reads what to do from standard input, a line of JSON each, and answers on
    standard output. docs/how-to/conformance.md has the lines. The kit plays relay and signer.
    """
    from bunker.conformance.client import CASES
    from bunker.conformance.client.kit import Target, running
    from bunker.conformance.run import run

    if not words and not rest["listing"]:
        raise click.UsageError("give the command that runs the client, after --")

    async def results(cases: Sequence[Case]) -> AsyncIterator[Result]:
        async with running(Target(words, patience)) as make_kit:
            async for result in run(cases, make_kit, at_once=16, again=make_kit):
                yield result

    _judge("client", rest.pop("name") or shlex.join(words), CASES, results, **rest)


@conformance.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
def table(files: tuple[Path, ...]) -> None:
    """Print one page, in Markdown, of runs that were written with --json."""
    from bunker.conformance.report.table import table as page_of

    try:
        runs = [json.loads(file.read_text()) for file in files]
        click.echo(page_of(runs), nl=False)
    except (ValueError, KeyError, TypeError) as error:
        raise click.ClickException(f"not a run of this kit: {error}") from None


def _judge(
    kind: str,
    target: str,
    all_cases: tuple[Case, ...],
    results: _Results,
    *,
    patterns: tuple[str, ...],
    level: str,
    listing: bool,
    issues: bool,
    json_file: Path | None,
    junit_file: Path | None,
    html_file: Path | None,
) -> None:
    """Run the cases, write every report, and exit with 1 if the target fails at `level`."""
    cases = [c for c in all_cases if not patterns or any(fnmatchcase(c.id, p) for p in patterns)]
    if not cases:
        raise click.UsageError("no case has such an id; --list shows them all")
    if listing:
        for case in cases:
            click.echo(f"{case.id:<34}  {case.level.value.upper():<6}  {case.expected}")
        return
    began, clock = datetime.now(UTC), time.monotonic()

    async def collect() -> list[Result]:
        found = []
        progress = sys.stderr.isatty()
        async for result in results(cases):
            found.append(result)
            if progress:
                click.echo(f"\r{len(found)} of {len(cases)}", nl=False, err=True)
        if progress:
            click.echo("\r" + " " * 20 + "\r", nl=False, err=True)
        return found

    try:
        found = asyncio.run(collect())
    except (Outcome, BunkerError) as error:
        raise click.ClickException(str(error)) from None
    run = Run(target, kind, __version__, began, time.monotonic() - clock, in_order(found, cases))
    writers: dict[Path | None, Callable[[], str]] = {
        json_file: lambda: json.dumps(run.to_dict(), indent=1) + "\n",
        junit_file: lambda: junit(run),
        html_file: lambda: page(run),
    }
    for file, text in writers.items():
        if file is not None:
            _write(file, text())
    if Path("-") not in (json_file, junit_file, html_file):
        for line in summary(run):
            click.echo(line)
        if issues:
            for result in run.convicted(Level.MAY):
                click.echo(f"\n{issue(result, run)}")
    if run.convicted(Level(level)):
        raise SystemExit(1)


def _write(file: Path, text: str) -> None:
    if file == Path("-"):
        click.echo(text, nl=False)
        return
    try:
        file.write_text(text)
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}") from None
