"""How hooks are given: whoever knows an ntfy topic reads along, so it is not an option."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final

import click
from click.core import ParameterSource

from bunker_core.errors import BunkerError

VARIABLE: Final = "BUNKER_SIGNER_NOTIFY"
_OPEN: Final = "command:"  # a path says nothing
_FILE: Final = "file:"


class _Hook(click.types.StringParamType):
    """A hook; in the variable there is one a line."""

    envvar_list_splitter: ClassVar[str] = "\n"


def _given(ctx: click.Context, param: click.Parameter, hooks: tuple[str, ...]) -> tuple[str, ...]:
    seen = ctx.get_parameter_source(str(param.name)) is ParameterSource.COMMANDLINE
    if seen and not all(hook.startswith((_OPEN, _FILE)) for hook in hooks):
        raise click.BadParameter(
            "every user of this machine can read it there. Write the hook into a file and give "
            f"file:PATH, or set {VARIABLE}",
            ctx,
            param,
        )
    return hooks


notify_option: Callable[..., Any] = click.option(
    "--notify",
    multiple=True,
    type=_Hook(),
    metavar="HOOK",
    envvar=VARIABLE,
    show_envvar=True,
    callback=_given,
    help="Tell the owner about requests that wait: command:PATH, or file:PATH with hooks, one a "
    "line, also ntfy:URL and webhook:URL. Repeatable. No content is sent.",
)


def hooks_of(given: tuple[str, ...]) -> tuple[str, ...]:
    """Return the hooks, those from files included; raises BunkerError when one is none."""
    from bunker_signer.approvers.notify import parse_hook

    hooks: list[str] = []
    for hook in given:
        hooks += _lines(Path(hook.removeprefix(_FILE))) if hook.startswith(_FILE) else [hook]
    for hook in hooks:
        parse_hook(hook)
    return tuple(hooks)


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise BunkerError(f"--notify file:{path}: {reason}") from None
    return [line.strip() for line in text.splitlines() if line.strip()]
