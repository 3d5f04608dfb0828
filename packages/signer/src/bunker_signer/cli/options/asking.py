"""Options about who else is asked or woken; `bunker signer run` and `bunker up` have the same."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import urlsplit

import click

from bunker_core.errors import BunkerError
from bunker_core.local.extras import how_to_install
from bunker_core.nips.relay_url import parse_relay_url

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}

own_relay_option: Callable[..., Any] = click.option(
    "--own-relay",
    "own_relays",
    multiple=True,
    metavar="URL",
    help="Ask this relay, where your profile and lists are, for the current ones, so that a "
    "request can say what it would change. Repeatable.  [default: what was signed here is known]",
)
desktop_option: Callable[..., Any] = click.option(
    "--desktop", is_flag=True, help="Ask by notifications of this desktop (D-Bus)."
)
push_option: Callable[..., Any] = click.option(
    "--console-push",
    "push_services",
    multiple=True,
    metavar="ORIGIN",
    help="A push service of your own, like http://push.lan:8080, to which bound devices may be "
    "woken though it is not public. Repeatable.",
)


def own_relays_of(given: tuple[str, ...]) -> tuple[str, ...]:
    """Return the owner's relays, each once; raises InvalidURI."""
    return tuple(dict.fromkeys(map(parse_relay_url, given)))


def push_services_of(given: tuple[str, ...]) -> tuple[str, ...]:
    """Return origins as browsers write them; raises BunkerError for what is no origin."""
    return tuple(dict.fromkeys(map(_origin, given)))


def check_desktop(wanted: bool) -> None:
    """Raise BunkerError where nothing could speak to a desktop."""
    if wanted and find_spec("jeepney") is None:
        raise BunkerError(
            f"--desktop needs jeepney: {how_to_install('nostr-bunker-signer', 'desktop')}"
        )


def _origin(text: str) -> str:
    try:
        parts = urlsplit(text)
        default = _DEFAULT_PORTS[parts.scheme]
        bare = parts.hostname and not parts.username and not parts.query and not parts.fragment
        if not bare or parts.path not in ("", "/") or parts.port == 0:
            raise ValueError
    except (ValueError, KeyError):
        raise BunkerError(
            f"--console-push {text}: not an origin like http://push.lan:8080"
        ) from None
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(default)}"
