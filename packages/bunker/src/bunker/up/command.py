"""`bunker up`: relay and signer for use, supervised processes under one command."""

import asyncio
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from bunker.installation import Installation, default_data
from bunker.up.caddy import (
    Site,
    find_caddy,
    wait_until_console_served,
    wait_until_served,
    write_caddyfile,
)
from bunker.up.console import (
    check_console_domain,
    console_address,
    console_port,
    show_console,
)
from bunker.up.first_run import make_missing
from bunker.up.questions import (
    Answers,
    check_flags,
    data_option,
    first_run,
    first_run_options,
    master_key_option,
)
from bunker.up.screen import Screen, shown
from bunker.up.supervise import Child, ChildFailed, Supervisor
from bunker_core.errors import BunkerError
from bunker_signer.cli.options import draw
from bunker_signer.nse import NSEError
from bunker_signer.policy import Profile

DEFAULT_PORT: Final = 7777

_READY: Final = "relay listening on "
_GRANTS: Final = {
    Profile.ASK: "nothing without asking you here",
    Profile.BASIC: "notes, reactions and the like; the rest asks you here",
    Profile.FULL: "everything, also reading your messages",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What a run needs to know."""

    installation: Installation
    port: int
    qr: bool | None  # None: what a phone can reach
    profile: str
    allow: str
    master_key_file: Path | None
    domain: str | None
    https_port: int
    internal_tls: bool
    console: str | None
    console_domain: str
    notify: tuple[str, ...]
    auth_url: str

    @property
    def draws_uri(self) -> bool:
        """Whether the URI is shown as a code: without a domain no phone reaches the relay."""
        return self.domain is not None if self.qr is None else self.qr


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
@click.option("--notify", multiple=True, metavar="HOOK", help="See `bunker signer run`.")
@click.option("--auth-url", default="", metavar="URL", help="See `bunker signer run`.")
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
    notify: tuple[str, ...],
    auth_url: str,
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
        check_flags(port, allow, domain)
        if domain is not None:
            find_caddy()
        check_console_domain(console_domain, domain, console)
        if not installation.has_keys:
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
        options = Options(
            installation,
            port,
            qr,
            profile or Profile.ASK.value,
            allow,
            master_key_file,
            domain,
            https_port,
            tls == "internal",
            console_address(console, port),
            console_domain,
            notify,
            auth_url,
        )
        code = asyncio.run(_up(options, recovery))
    except ChildFailed as error:
        sys.exit(error.code if error.code > 0 else 1)
    except (BunkerError, NSEError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    sys.exit(code)


async def _up(options: Options, recovery: str) -> int:
    """Run it all; return the exit code. Raises ChildFailed and BunkerError."""
    supervisor = Supervisor()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, supervisor.stop)
    try:
        relay = _relay(options, options.port)
        url = (await supervisor.start(relay))[-1].removeprefix(_READY)
        # From now on the port is known, also if any was welcome.
        port = int(url.rpartition(":")[2])
        relay.command = _relay(options, port).command
        children = [relay]
        environment = {}
        site: Site | None = None
        if options.domain is not None:
            site = Site(
                options.domain,
                port,
                options.installation.caddy,
                options.https_port,
                options.internal_tls,
                options.console_domain,
                console_port(options.console) if options.console and options.console_domain else 0,
            )
            caddy = _caddy(site)
            await supervisor.start(caddy)
            children.append(caddy)
            await wait_until_served(site)
            url = site.url
            if site.internal:
                environment["SSL_CERT_FILE"] = str(site.root_certificate)
        signer = _signer(options, url, site, environment)
        screen_of = _Show(options, url, recovery)
        lines = await supervisor.start(signer)
        if site is not None and site.console_domain:
            await wait_until_console_served(site)
        screen_of(signer, lines)
        for child in children:
            supervisor.watch(child)
        supervisor.watch(signer, screen_of)
        await supervisor.wait()
    finally:
        await supervisor.close()
    click.echo("\nstopped")
    return 0


class _Show:
    """Shows the screen when the signer is there, and again when it had to be restarted."""

    def __init__(self, options: Options, url: str, recovery: str) -> None:
        self._options = options
        self._url = url
        self._recovery = recovery

    def __call__(self, _child: Child, lines: list[str]) -> None:
        options = self._options
        installation = options.installation
        master = options.master_key_file or installation.master_key
        beside = master.resolve().is_relative_to(installation.data.resolve())
        screen = Screen(
            relay_url=self._url,
            npub=installation.npub(),
            protection=f"sealed under the master key {shown(master)}"
            + (" (beside it: move one of them to another disk)" if beside else ""),
            memory=_memory(lines),
            recovery=self._recovery or f"`bunker recovery{_data(installation)} FILE` writes a copy",
            grants=_GRANTS[Profile(options.profile)]
            + (f"; also {options.allow}" if options.allow else ""),
            signer_option=_data(installation, "signer"),
            data_option=_data(installation),
        )
        self._recovery = ""  # a passphrase is shown once
        if options.draws_uri:
            draw(lines[-1])  # on top: a small terminal has all the rest in view
        click.echo(screen.text())
        click.echo(f"{lines[-1]}\n")
        show_console(lines, qr=options.qr)
        click.echo(screen.what_next())


def _relay(options: Options, port: int) -> Child:
    installation = options.installation
    command = [sys.executable, "-m", "bunker", "relay", "run", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--data", str(installation.relay), "--profile", "private"]
    command += ["--signer", installation.remote_signer_pubkey()]
    command += ["--owner", installation.user_pubkey()]
    environment = {}
    if options.domain is not None:
        suffix = "" if options.https_port == 443 else f":{options.https_port}"
        command += ["--url", f"wss://{options.domain}{suffix}"]
        # Caddy says who the client is; without that all would share one rate limit.
        environment["BUNKER_RELAY_TRUSTED_PROXIES"] = "127.0.0.1"
    return Child("relay", command, ready=_READY, environment=environment)


def _caddy(site: Site) -> Child:
    path = write_caddyfile(site)
    command = [find_caddy(), "run", "--config", str(path), "--adapter", "caddyfile"]
    return Child("TLS server (Caddy)", command, environment={"HOME": str(site.data)})


def _signer(options: Options, url: str, site: Site | None, environment: dict[str, str]) -> Child:
    command = [sys.executable, "-m", "bunker", "signer", "run"]
    command += ["--data", str(options.installation.signer), "--relay", url]
    command += ["--profile", options.profile, "--allow", options.allow]
    if options.master_key_file is not None:
        command += ["--master-key-file", str(options.master_key_file)]
    if site is not None and site.console_domain:
        command += ["--console", f"127.0.0.1:{site.console_port}"]
        command += ["--console-url", site.console_url, "--console-proxy", "127.0.0.1"]
    elif options.console is not None:
        command += ["--console", options.console]
    for hook in options.notify:
        command += ["--notify", hook]
    if options.auth_url:
        command += ["--auth-url", options.auth_url]
    return Child("signer", command, ready="bunker://", foreground=True, environment=environment)


def _data(installation: Installation, part: str = "") -> str:
    """Return the option that names the data, or "" where every command looks by itself."""
    here = installation.data == default_data()
    return "" if here else f" --data {installation.data / part}"


def _memory(lines: list[str]) -> str:
    """Return how the signer's memory is protected, in its own word."""
    return next((line.rpartition("memory ")[2] for line in lines if "memory " in line), "not said")


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
