"""What the client's commands share: which signer, how long, how results and errors are told.

Exit codes:

    0  done                        6  the owner has not approved in time
    1  any other error             7  denied by the signer
    2  wrong use of the command    8  the signer is locked
    3  no relay reached, or none   9  pairing failed, or no such session
       took the request
    4  the signer is offline       10  the signer does not know the method
    5  no answer in time           11  this machine's clock is off
                                  12  too large for the relays
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from bunker_core.describe import plain
from bunker_core.errors import BunkerError

URI_VARIABLE: Final = "BUNKER_URI"

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, repr=False)
class Common:
    """The options that every command has. No repr: the URI has a secret."""

    uri: str | None = None
    session: str = "default"
    sessions_directory: Path | None = None
    keyring: bool = False
    timeout: float = 10.0
    approval_timeout: float = 180.0
    offline_timeout: float | None = None
    as_json: bool = False
    quiet: bool = False
    exported: bool = False  # whether `uri` is what $BUNKER_URI says
    session_given: bool = False  # whether `session` was typed

    def sessions(self) -> Any:
        """Return where sessions are kept."""
        from bunker_client.keys.master_key import KeyringMasterKey
        from bunker_client.sessions import Sessions

        return Sessions(self.sessions_directory, KeyringMasterKey() if self.keyring else None)

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments that every way to a signer takes."""
        return {
            "timeout": self.timeout,
            "approval_timeout": self.approval_timeout,
            "offline_timeout": self.offline_timeout,
            "on_auth_url": lambda url: click.echo(f"approve at {url}", err=True),
            "on_progress": self._show,
        }

    @asynccontextmanager
    async def signer(self) -> AsyncIterator[Any]:
        """Connect to the signer of the URI, else to the one of the session."""
        from bunker_client.signers import signer_from

        opening = signer_from(self.named(), sessions=self.sessions(), **self.options())
        async with opening as signer:
            yield signer

    def named(self) -> str:
        """Return what names the signer: the command line, then $BUNKER_URI, then the session."""
        return self.chosen_uri or f"session:{self.session}"

    @property
    def chosen_uri(self) -> str | None:
        """The URI, unless a session was typed, which wins over a URI that was exported."""
        return None if self.exported and self.session_given else self.uri

    def way_out(self, error: BunkerError) -> str:
        """Return what to do when it was $BUNKER_URI that led to a signer that refuses us."""
        from bunker_client.errors import InvalidURI, PairingFailed

        if not self.exported or not isinstance(error, PairingFailed | InvalidURI):
            return ""
        if self.session in self.sessions().names():
            return (
                f" (${URI_VARIABLE} is set and wins over the session {self.session!r}, which is "
                f"kept here: `unset {URI_VARIABLE}`, or give --session {self.session})"
            )
        return f" (the URI is the one in ${URI_VARIABLE})"

    def result(self, text: str, value: Any) -> None:
        """Print a result, as a line for people or as JSON."""
        click.echo(json.dumps(value, ensure_ascii=False) if self.as_json else text)

    def _show(self, progress: Any) -> None:
        # Only what a person at a terminal may have to act upon.
        if not self.quiet and sys.stderr.isatty() and progress.step.value in _SHOWN:
            click.echo(str(progress), err=True)


_SHOWN: Final = frozenset({"queued", "refused", "signer offline", "waiting for approval"})


def common_options(command: F) -> F:
    """Add the options that every command has, as one argument `common`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def gather(values: dict[str, Any]) -> Common:
    """Return what `common_options` read, taking it out of `values`."""
    uri = values.pop("uri")
    file = values.pop("uri_file")
    exported = _source("uri") is ParameterSource.ENVIRONMENT
    if file is not None:
        uri, exported = file.read().strip(), False
    return Common(
        uri,
        values.pop("session"),
        values.pop("sessions_directory"),
        values.pop("keyring"),
        values.pop("timeout"),
        values.pop("approval_timeout"),
        values.pop("offline_timeout"),
        values.pop("as_json"),
        values.pop("quiet"),
        exported,
        _source("session") is ParameterSource.COMMANDLINE,
    )


def _source(option: str) -> ParameterSource | None:
    return click.get_current_context().get_parameter_source(option)


def run(common: Common, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a command; what goes wrong is one line on standard error and an exit code."""
    with one_line_errors(common):
        return asyncio.run(coroutine)


@contextmanager
def one_line_errors(common: Common) -> Iterator[None]:
    """Turn an error into one line (or one JSON object) and its exit code."""
    try:
        yield
    except BunkerError as error:
        code, said = exit_code(error), plain.text(str(error)) + common.way_out(error)
        if common.as_json:
            told = {
                "error": said,
                "type": type(error).__name__,
                "exit_code": code,
            }
            click.echo(json.dumps(told, ensure_ascii=False), err=True)
        else:
            click.echo(f"Error: {said}", err=True)
        sys.exit(code)
    except KeyboardInterrupt:
        sys.exit(130)


def exit_code(error: BunkerError) -> int:
    """Return the exit code of an error; the table is in the module's docstring."""
    from bunker_client import errors

    codes: tuple[tuple[type[BunkerError], int], ...] = (
        (errors.RequestTooLarge, 12),
        (errors.RelayUnreachable, 3),
        (errors.SignerOffline, 4),
        (errors.WaitingForApproval, 6),
        (errors.RequestTimeout, 5),
        (errors.SignerLocked, 8),
        (errors.MethodUnknown, 10),
        (errors.ClockOff, 11),
        (errors.AnswerTooLarge, 12),
        (errors.RequestDenied, 7),
        (errors.PairingFailed, 9),
        (errors.SessionError, 9),
    )
    return next((code for kind, code in codes if isinstance(error, kind)), 1)


def read_text() -> str:
    """Return standard input as text; raises BunkerError."""
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise BunkerError("standard input is not UTF-8 text") from None


def _complete_session(
    context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    from bunker_client.sessions import Sessions

    names = Sessions(context.params.get("sessions_directory")).names()
    return [name for name in names if name.startswith(incomplete)]


_OPTIONS: Final = (
    click.option(
        "--uri",
        metavar="SIGNER",
        envvar=URI_VARIABLE,
        help="bunker://..., nbunksec1..., nse:PATH, session:NAME or a NIP-05 name. Other users of "
        f"the machine can read a command line: better give it in ${URI_VARIABLE} or by --uri-file.",
    ),
    click.option(
        "--uri-file",
        type=click.File(encoding="utf-8"),
        help="File with the URI; - is standard input.",
    ),
    click.option(
        "--session",
        default="default",
        show_default=True,
        shell_complete=_complete_session,
        help="The session that `bunker pair` kept under this name. Given, it wins over "
        f"${URI_VARIABLE}.",
    ),
    click.option(
        "--sessions",
        "sessions_directory",
        type=click.Path(path_type=Path, file_okay=False),
        help="Directory of the sessions.  [default: $BUNKER_SESSIONS, else "
        "~/.local/share/nostr-bunker/sessions]",
    ),
    click.option("--keyring", is_flag=True, help="The sessions' master key is in the OS keyring."),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0.1),
        default=10.0,
        show_default=True,
        help="Seconds for a round trip.",
    ),
    click.option(
        "--approval-timeout",
        type=click.FloatRange(min=0),
        default=180.0,
        show_default=True,
        help="Seconds that the owner has to approve.",
    ),
    click.option(
        "--offline-timeout",
        type=click.FloatRange(min=0),
        help="Seconds that the signer may be offline; 0 fails at once.  [default: --timeout]",
    ),
    click.option("--json", "as_json", is_flag=True, help="Results and errors as JSON."),
    click.option("--quiet", is_flag=True, help="No progress on standard error."),
)
