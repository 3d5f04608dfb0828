"""`bunker nip07`: give the browser's sites a signer, and see what they may do with it."""

import asyncio
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from bunker_client.cli.common import Common, one_line_errors
from bunker_core.local.home import expanded, user_home

_DIRECTORY: Final = click.Path(path_type=Path, file_okay=False)


_directory: Final = click.option(
    "--directory",
    type=_DIRECTORY,
    help="Where extension, settings and the sites' permissions are kept.  "
    "[default: ~/.local/share/nostr-bunker/nip07]",
)
_browser: Final = click.option(
    "--browser",
    "names",
    multiple=True,
    help="chromium, chrome, brave, edge, vivaldi or firefox; repeatable.  "
    "[default: all that are there]",
)
_profile: Final = click.option(
    "--profile", type=_DIRECTORY, help="The browser's profile, if it has another place."
)


@click.group()
def nip07() -> None:
    """Be `window.nostr` in the browser (NIP-07): sites ask, you decide, the key stays outside."""


@nip07.command()
@click.option(
    "--signer",
    default="session:default",
    show_default=True,
    metavar="SIGNER",
    help="nse:PATH, the sealed key in a signer's data directory on this machine; or session:NAME, "
    "a remote signer that `bunker pair` was paired with.",
)
@_browser
@_profile
@click.option("--sessions", type=_DIRECTORY, help="Directory of the sessions.")
@click.option("--keyring", is_flag=True, help="The sessions' master key is in the OS keyring.")
@_directory
def install(
    signer: str,
    names: tuple[str, ...],
    profile: Path | None,
    sessions: Path | None,
    keyring: bool,
    directory: Path | None,
) -> None:
    """Tell the browsers of this user about the signer, and say how to load the extension."""
    from bunker_client.nip07.install import Settings, default_directory
    from bunker_client.nip07.install import install as write

    if sys.platform == "win32":
        raise click.ClickException("on Windows browsers look into the registry; not supported yet")
    if signer.startswith("nse:"):  # the browser starts the host in a directory of its own
        signer = f"nse:{expanded(signer[4:]).absolute()}"
    with one_line_errors(Common()):
        settings = Settings(signer, sessions.absolute() if sessions else None, keyring)
        browsers = _browsers(names, profile)
        asyncio.run(_check(settings))
        home = (directory or default_directory()).absolute()
        for path in write(home, settings, browsers):
            click.echo(f"wrote {path}")
    click.echo(f"\nNow load the extension, once, from {home / 'extension'}")
    if any(not browser.firefox for browser in browsers.values()):
        click.echo("  Chromium and its kin: chrome://extensions, Developer mode, Load unpacked")
    if any(browser.firefox for browser in browsers.values()):
        click.echo("  Firefox: about:debugging, This Firefox, Load Temporary Add-on, manifest.json")


@nip07.command()
@_browser
@_profile
@_directory
def uninstall(names: tuple[str, ...], profile: Path | None, directory: Path | None) -> None:
    """Remove what `install` wrote, with all that the sites were granted."""
    from bunker_client.nip07.install import default_directory
    from bunker_client.nip07.install import uninstall as remove

    with one_line_errors(Common()):
        removed = remove(directory or default_directory(), _browsers(names, profile))
    for path in removed:
        click.echo(f"removed {path}")
    if not removed:
        click.echo("nothing is installed", err=True)


@nip07.command()
@_directory
def sites(directory: Path | None) -> None:
    """List what each site may do without asking, or may never do."""
    from bunker_client.nip07.install import default_directory
    from bunker_client.nip07.sites import Sites

    with one_line_errors(Common()):
        kept = Sites((directory or default_directory()) / "sites.json").listed(int(time.time()))
    for origin, permission, rule in kept:
        until = ""
        if rule.expires_at is not None:
            until = f"until {datetime.fromtimestamp(rule.expires_at, UTC):%H:%M} UTC"
        click.echo(
            f"{origin}  {permission}  {'allowed' if rule.allow else 'never'} {until}".strip()
        )
    if not kept:
        click.echo("no site was granted or refused anything for longer than once", err=True)


@nip07.command()
@click.argument("origin")
@_directory
def forget(origin: str, directory: Path | None) -> None:
    """Forget what a site may do: it has to ask again."""
    from bunker_client.nip07.install import default_directory
    from bunker_client.nip07.sites import Sites

    with one_line_errors(Common()):
        kept = Sites((directory or default_directory()) / "sites.json")
        if not kept.forget(origin.rstrip("/"), int(time.time())):
            raise click.ClickException(
                f"nothing is remembered of {origin!r}; see `bunker nip07 sites`"
            )
    click.echo(f"{origin} has to ask again")


async def _check(settings: Any) -> None:
    """Raise BunkerError when there is no such signer: better now than in a browser's log."""
    from bunker_client.signers import parse_signer, signer_from

    kind, rest = parse_signer(settings.signer)
    if kind == "session":
        settings.kept().load(rest)
    else:
        async with signer_from(settings.signer) as signer:
            await signer.get_public_key()


def _browsers(names: tuple[str, ...], profile: Path | None) -> dict[Path, Any]:
    """Return the browsers to install for, by their profile directories."""
    from bunker_client.nip07.install import BROWSERS, present

    known = {browser.name: browser for browser in BROWSERS}
    if unknown := [name for name in names if name not in known]:
        raise click.UsageError(f"{unknown[0]!r} is none of {', '.join(known)}")
    if profile is not None:
        if len(names) != 1:
            raise click.UsageError("--profile needs one --browser")
        return {profile: known[names[0]]}
    if names:
        return {known[name].profile(user_home()): known[name] for name in names}
    found = present(user_home())
    if not found:
        raise click.UsageError(f"no browser's profile was found; name one of {', '.join(known)}")
    return found
