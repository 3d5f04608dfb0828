"""`bunker up`: relay and signer for use, supervised processes under one command."""

import sys
from pathlib import Path
from typing import Any, Final

import click

from bunker.installation import Installation, default_data, hold, shown
from bunker.up.caddy import find_caddy
from bunker.up.console import check_console_domain, check_push, console_address
from bunker.up.first_run import make_missing
from bunker.up.questions import (
    Answers,
    check_flags,
    check_port,
    data_option,
    first_run,
    first_run_options,
    master_key_option,
)
from bunker.up.serve import Plan, serve
from bunker_core.errors import BunkerError
from bunker_signer.cli.options.asking import (
    check_desktop,
    desktop_option,
    own_relay_option,
    own_relays_of,
    push_option,
    push_services_of,
)
from bunker_signer.cli.options.notify import hooks_of, notify_option
from bunker_signer.policy import Profile

DEFAULT_PORT: Final = 7777

_GRANTS: Final = {
    Profile.ASK: "nothing without asking you here",
    Profile.BASIC: "notes, reactions and the like; the rest asks you here",
    Profile.FULL: "everything, also reading your messages",
}


@click.command()
@data_option
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=DEFAULT_PORT,
    show_default=True,
    help="The relay's port; 0 picks a free one.",
)
@click.option(
    "--qr/--no-qr",
    default=None,
    help="Show what is to be scanned as QR codes.  [default: what a phone can reach]",
)
@click.option(
    "--profile",
    type=click.Choice([profile.value for profile in Profile]),
    help="What an app may do without asking; see `bunker signer run`.  [default: ask]",
)
@click.option("--allow", default="", metavar="PERMISSIONS", help="See `bunker signer run`.")
@master_key_option
@first_run_options
@click.option(
    "--console",
    metavar="HOST:PORT",
    help="Where the signer's web page listens; 0.0.0.0:7778 for a phone in your network, `off` for "
    "none.  [default: 127.0.0.1 and the relay's port + 1]",
)
@click.option("--domain", metavar="NAME", help="Serve wss://NAME through Caddy (extra `tls`).")
@click.option(
    "--console-domain",
    default="",
    metavar="NAME",
    help="Serve the console at https://NAME, which must be another name than the relay's.",
)
@click.option(
    "--https-port",
    type=click.IntRange(1, 65_535),
    default=443,
    show_default=True,
    help="Port of both names.",
)
@click.option(
    "--tls",
    type=click.Choice(["acme", "internal"]),
    default="acme",
    show_default=True,
    help="Whose certificate: a public authority's, or Caddy's own, for a network of yours.",
)
@click.option(
    "--phone",
    is_flag=True,
    help="A phone's browser is the signer: serve its page. Without a key here, none is made.",
)
@click.option(
    "--phone-domain",
    default="",
    metavar="NAME",
    help="Serve the phone's page at https://NAME, which must be another name than the others.",
)
@click.option(
    "--phone-port",
    type=click.IntRange(0, 65_535),
    help="Where the page listens on this machine.  [default: the relay's port + 2]",
)
@push_option
@notify_option
@desktop_option
@own_relay_option
@click.option("--auth-url", default="", metavar="URL", help="See `bunker signer run`.")
@click.option(
    "--pair/--no-pair",
    "pairs",
    default=None,
    help="Show a URI that pairs an app, and a link that binds a device.  [default: at a terminal]",
)
def up(
    data: Path,
    port: int,
    qr: bool | None,
    profile: str | None,
    allow: str,
    master_key_file: Path | None,
    console: str | None,
    domain: str | None,
    https_port: int,
    tls: str,
    console_domain: str,
    phone: bool,
    phone_domain: str,
    phone_port: int | None,
    push_services: tuple[str, ...],
    notify: tuple[str, ...],
    desktop: bool,
    own_relays: tuple[str, ...],
    auth_url: str,
    pairs: bool | None,
    **first: Any,
) -> None:
    """Run relay and signer until Ctrl-C, and show what pairs an app.

    The first run asks three questions: which key, a passphrase for its recovery copy, and what an
    app may do without asking. Without a terminal, or with --yes, nobody is asked: a new key, no
    recovery copy (`bunker recovery` makes one), and apps may do nothing without asking.
    """
    installation = Installation(data)
    recovery = ""
    answers = Answers(**first)
    try:
        check_flags(allow, domain)
        hooks = hooks_of(notify)
        check_desktop(desktop)
        asked, woken = own_relays_of(own_relays), push_services_of(push_services)
        check_push(woken, console, port)
        if domain is not None:
            find_caddy()
        check_console_domain(console_domain, domain, console)
        _check_phone(phone, phone_domain, domain, console_domain)
        hold(installation)
        check_port(port)
        if phone and not installation.has_keys:
            pass  # the key is made on the phone
        elif not installation.has_keys:
            if answers.asks:
                click.echo("The first run: three questions, and Enter answers each.\n")

            def last_question() -> None:
                nonlocal profile
                if answers.asks:
                    profile = profile or _ask_profile()
                    click.echo()

            recovery = first_run(installation, master_key_file, answers, last_question)
        else:
            make_missing(installation, master_key_file)
        chosen = Profile(profile or Profile.ASK.value)
        master = master_key_file or installation.master_key
        beside = master.resolve().is_relative_to(installation.data.resolve())
        plan = Plan(
            data=str(data),
            relay_data=str(installation.relay),
            signer_data=str(installation.signer),
            caddy_data=str(installation.caddy),
            npub=installation.npub() if installation.has_keys else "",
            user_pubkey=installation.user_pubkey() if installation.has_keys else "",
            remote_signer_pubkey=installation.remote_signer_pubkey()
            if installation.has_keys
            else "",
            port=port,
            pairs=sys.stdout.isatty() if pairs is None else pairs,
            qr=qr,
            profile=chosen.value,
            allow=allow,
            master_key_file=str(master_key_file or ""),
            domain=domain or "",
            https_port=https_port,
            internal_tls=tls == "internal",
            console=console_address(console, port) or "",
            console_domain=console_domain,
            push_services=woken,
            notify=hooks,
            desktop=desktop,
            own_relays=asked,
            auth_url=auth_url,
            phone=phone,
            phone_domain=phone_domain,
            phone_port=(port + 2 if port else 0) if phone_port is None else phone_port,
            protection=f"sealed under the master key {shown(master)}"
            + (" (beside it: move one of them to another disk)" if beside else ""),
            recovery=recovery,
            recovery_later=f"`bunker recovery{_data(installation)} FILE` writes a copy",
            grants=_GRANTS[chosen] + (f"; also {allow}" if allow else ""),
            data_option=_data(installation),
            signer_option=_data(installation, "signer"),
        )
        serve(plan)
    except BunkerError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None


def _check_phone(phone: bool, phone_domain: str, domain: str | None, console: str) -> None:
    """Raise BunkerError where a name for the phone's page makes no sense, or there is no page."""
    if phone_domain and (not phone or domain is None):
        raise BunkerError("--phone-domain needs --phone and --domain NAME, the relay's own name")
    if phone and domain is not None and not phone_domain:
        raise BunkerError(
            "--phone needs --phone-domain NAME beside --domain: the page has a name of its own, as "
            "whoever serves the relay's name could otherwise serve the page"
        )
    if phone_domain and phone_domain.lower() in ((domain or "").lower(), console.lower()):
        raise BunkerError("--phone-domain needs another name than --domain and --console-domain")
    if phone:
        from bunker_phone.site import load

        load()


def _data(installation: Installation, part: str = "") -> str:
    """Return the option that names the data, or "" where every command looks by itself."""
    here = installation.data == default_data()
    return "" if here else f" --data {installation.data / part}"


def _ask_profile() -> str:
    return str(
        click.prompt(
            "3. What may an app do without asking you? Nothing (ask), notes and reactions\n"
            "   (basic), or everything (full)?",
            type=click.Choice([profile.value for profile in Profile]),
            default=Profile.ASK.value,
            prompt_suffix=" ",
        )
    )
