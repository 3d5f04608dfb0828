"""`bunker signer run`."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bunker_core.errors import BunkerError
from bunker_core.local.locks import hold
from bunker_core.nips.bunker_uri import (
    UNPROTECTED,
    NostrConnectURI,
    new_secret,
    parse_nostrconnect_uri,
)
from bunker_core.nips.nip19 import parse_pubkey
from bunker_core.nips.relay_url import parse_relay_url
from bunker_signer.cli.console import announce, console_options, listening
from bunker_signer.cli.options import (
    Duration,
    allow_option,
    data_option,
    database_option,
    granted,
    one_line_errors,
    profile_option,
    qr_option,
    show_uri,
)
from bunker_signer.cli.options.asking import desktop_option, own_relay_option, own_relays_of
from bunker_signer.cli.options.notify import hooks_of, notify_option
from bunker_signer.policy import Grant

if TYPE_CHECKING:
    from bunker_signer.console.server import Listening
    from bunker_signer.request.approval import Approver
    from bunker_signer.service.service import Config, Service

LOCK: Final = "signer.lock"


@click.command()
@data_option
@click.option("--relay", "relays", multiple=True, required=True, metavar="URL", help="Repeatable.")
@click.option(
    "--key",
    "keys",
    multiple=True,
    metavar="NAME",
    help="Serve this user key, made if there is none; repeatable.  [default: all there are]",
)
@click.option(
    "--master-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="BUNKER_MASTER_KEY_FILE",
    help="32 bytes, or 64 hex characters, that open the sealed keys. Without it: systemd's "
    "credential bunker-master-key, else master.key in the data directory.",
)
@profile_option
@allow_option
@click.option(
    "--connect",
    "invitations",
    multiple=True,
    metavar="URI",
    help="Accept a client's nostrconnect:// URI; - reads it from standard input. Repeatable.",
)
@click.option(
    "--pair/--no-pair",
    "pairs",
    default=None,
    help="Print a bunker:// URI that pairs one client, and a link that binds a device while there "
    "is none.  [default: at a terminal; a log is no place for them]",
)
@qr_option
@click.option(
    "--ask/--no-ask",
    default=None,
    help="Hold what no grant covers until it is approved (`bunker signer approve`), or deny it at "
    "once.  [default: ask if there is a terminal or a notification]",
)
@click.option(
    "--approval-timeout",
    type=Duration(),
    default="2m",
    show_default=True,
    help="How long a request waits for an approval or an unlock. Silence is denial.",
)
@notify_option
@click.option(
    "--link", default="", metavar="URL", help="Link in notifications; {id} is the request."
)
@click.option(
    "--auth-url",
    default="",
    metavar="URL",
    help="Page that a client opens for its user while a request waits; {request} is its digest. "
    "`console`: the request's page in the console.",
)
@own_relay_option
@desktop_option
@click.option("--auto-lock", type=Duration(), help="Lock keys that were idle for so long.")
@click.option(
    "--lock-after-silence",
    "silence",
    type=Duration(),
    help="Lock keys when nothing was heard of you for so long: 30d.  [default: never]",
)
@click.option(
    "--panic-by",
    multiple=True,
    metavar="NPUB",
    help="A private message `panic` (NIP-17) of this pubkey to the remote signer locks and revokes "
    "everything, as `bunker signer panic` does. Repeatable.  [default: nobody's]",
)
@click.option(
    "--panic-relay",
    "panic_relays",
    multiple=True,
    metavar="URL",
    help="A relay where such messages come to, beside --relay. Repeatable.",
)
@click.option(
    "--audit-days",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Let audit entries go after so many days; 0 keeps all.",
)
@click.option(
    "--client-rate",
    type=click.FloatRange(min=0, min_open=True),
    default=100,
    show_default=True,
    help="Requests a second that one client may send; twenty times as many at once.",
)
@database_option
@click.option(
    "--http", metavar="HOST:PORT", help="Serve /healthz and /metrics (Prometheus).  [default: no]"
)
@console_options
@click.option("--verbose", is_flag=True, help="Log every request (no content) to standard error.")
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True
)
def run(
    data: Path,
    relays: tuple[str, ...],
    keys: tuple[str, ...],
    master_key_file: Path | None,
    profile: str,
    allow: str,
    invitations: tuple[str, ...],
    pairs: bool | None,
    qr: bool,
    ask: bool | None,
    approval_timeout: int,
    notify: tuple[str, ...],
    link: str,
    auth_url: str,
    own_relays: tuple[str, ...],
    desktop: bool,
    auto_lock: int | None,
    silence: int | None,
    panic_by: tuple[str, ...],
    panic_relays: tuple[str, ...],
    audit_days: int,
    client_rate: float,
    database: str,
    http: str | None,
    console: str | None,
    console_url: str,
    console_proxies: tuple[str, ...],
    console_cert: Path | None,
    console_key: Path | None,
    push_services: tuple[str, ...],
    console_password: Path | None,
    verbose: bool,
    log_format: str,
) -> None:
    """Run the signer: hold the keys, and answer clients.

    Makes the keys on the first run. What no grant covers is asked at the terminal and in
    `bunker signer requests`; with nobody to ask it is denied.
    """
    # Imported here, and below: `bunker --help` and completion stay quick.
    from bunker_signer.process.logs import configure
    from bunker_signer.service.service import Config

    configure(verbose=verbose, as_json=log_format == "json")
    with one_line_errors():
        config = Config(
            data,
            tuple(dict.fromkeys(map(parse_relay_url, relays))),
            keys,
            master_key_file,
            database,
            ask,
            float(approval_timeout),
            hooks_of(notify),
            link,
            auth_url,
            None if auto_lock is None else float(auto_lock),
            audit_days,
            client_rate,
            None if silence is None else float(silence),
            tuple(map(parse_pubkey, panic_by)),
            tuple(map(parse_relay_url, panic_relays)),
            own_relays_of(own_relays),
        )
        accepted = [_read_invitation(text) for text in invitations]
        grants = granted(profile, allow)
        page = listening(
            console,
            console_url,
            console_proxies,
            console_cert,
            console_key,
            push_services,
            console_password,
        )
        loop = asyncio.Runner(loop_factory=_event_loop())
        with _locked(data), page as bound, loop as runner:
            shows = _Shows(sys.stdout.isatty() if pairs is None else pairs, qr)
            runner.run(_run(config, grants, accepted, shows, http, bound, on_desktop=desktop))


def _event_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's maker of event loops where there is one, None for asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


commands: Final[Sequence[click.Command]] = (run,)


@dataclass(frozen=True, slots=True)
class _Shows:
    """What is printed for a person: what pairs and binds, and whether as QR codes, too."""

    pairs: bool
    qr: bool


async def _run(
    config: "Config",
    grants: tuple[Grant, ...],
    invitations: list[NostrConnectURI],
    shows: _Shows,
    http: str | None,
    page: "Listening | None",
    *,
    on_desktop: bool,
) -> None:
    from bunker_core.local.memory import settle
    from bunker_core.local.systemd import notify
    from bunker_signer.approvers.terminal import TerminalApprover
    from bunker_signer.control.commands import Commands
    from bunker_signer.control.server import ControlServer
    from bunker_signer.nse import harden_process
    from bunker_signer.process.descriptors import raise_limit
    from bunker_signer.service.service import check_relays, running

    harden_process()
    raise_limit()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await check_relays(config.relays)  # before a key is made: nothing is left behind
    approvers: list[Approver] = [TerminalApprover()] if sys.stdin.isatty() else []
    if page is not None:
        approvers += [page.waiting, page.pusher]
        auth_url = page.auth_url if config.auth_url == "console" else config.auth_url
        config = replace(config, link=config.link or page.link, auth_url=auth_url)
    more_known = page.waiting.tell if page is not None else _nothing
    async with AsyncExitStack() as stack:
        asks = None
        if on_desktop:
            from bunker_signer.approvers.desktop import desktop

            asks = await stack.enter_async_context(desktop(time.time))
            approvers.append(asks)
        service = await stack.enter_async_context(running(config, approvers, more_known=more_known))
        if asks is not None:
            asks.may_allow = lambda name: service.agent.identity(name).state.value == "unlocked"
        table = Commands(
            service.agent, service.inbox, service.keystore, owner_seen=service.watch.owner_seen
        ).table
        await stack.enter_async_context(ControlServer(config.data, table, os.geteuid()))
        if http:
            from bunker_signer.service.web import create_app, serving

            app = create_app(service.agent, lambda: service.approvals.waiting)
            click.echo(f"http   {await stack.enter_async_context(serving(app, http))}")
        if page is not None:
            accounts = await stack.enter_async_context(page.serve(config.data, service))
            announce(page.address, accounts, pairs=shows.pairs, qr=shows.qr)
        serve = asyncio.create_task(service.agent.serve())
        await _announce(service, grants, invitations, shows)
        settle()  # what is loaded now stays
        notify("READY=1")
        tasks: set[asyncio.Task[Any]] = {serve, asyncio.create_task(stopped.wait())}
        watchdog = asyncio.create_task(_watchdog(service))
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        notify("STOPPING=1")
        for task in (*tasks, watchdog):
            if not task.done():
                task.cancel()
        await asyncio.gather(*tasks, watchdog, return_exceptions=True)
        if not stopped.is_set():
            serve.result()  # raises what ended it


def _nothing() -> None:
    pass


async def _announce(
    service: "Service", grants: tuple[Grant, ...], invitations: list[NostrConnectURI], shows: _Shows
) -> None:
    from bunker_core.nips.nip19 import encode_npub

    first = service.identities[0]
    for identity in service.identities:
        named = "" if len(service.identities) == 1 else f"  {identity.name}"
        state = "" if identity.state.value == "unlocked" else f"  ({identity.state.value})"
        click.echo(f"key    {encode_npub(identity.user_pubkey)}{named}{state}")
    memory = first.user.memory_level.value
    click.echo(f"       sealed with {service.opened_with}, memory {memory}")
    for relay in service.config.relays:
        click.echo(f"relay  {relay}")
    for invitation in invitations:
        if invitation.secret is None:
            click.echo(f"warning: {UNPROTECTED}", err=True)
        if await service.agent.accept(first, invitation, grants):
            click.echo(f"paired client {invitation.client_pubkey}")
        else:
            click.echo(f"client {invitation.client_pubkey} did not listen; pair it again", err=True)
    if not shows.pairs:
        # What a service prints stands in a log, for a day a key to everything that it grants.
        click.echo("no URI is shown here; `bunker signer pair` prints one")
        return
    click.echo("pair one client with this URI, good for 24 hours:")
    show_uri(service.agent.invite(first, new_secret(), grants), shows.qr)


async def _watchdog(service: "Service") -> None:
    """Show systemd that the loop turns, if it wants to know."""
    from bunker_core.local.systemd import notify, watchdog_interval

    interval = watchdog_interval()
    while interval is not None:
        relays = len(service.agent.live_relays)
        notify(f"WATCHDOG=1\nSTATUS={relays} relays, {service.approvals.waiting} requests wait")
        await asyncio.sleep(interval)


def _read_invitation(text: str) -> NostrConnectURI:
    return parse_nostrconnect_uri(sys.stdin.readline() if text == "-" else text)


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    """Hold the data directory: two signers on it would both answer every request."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = hold(data / LOCK)
    except BlockingIOError:
        raise BunkerError(f"another signer is running on {data}; stop it first") from None
    except OSError as error:
        raise BunkerError(f"{data} can't be used: {error.strerror}") from None
    try:
        yield
    finally:
        os.close(handle)
