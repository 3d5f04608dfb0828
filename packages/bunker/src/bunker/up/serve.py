"""The process of `bunker up` once nothing is to be asked any more: it starts, shows and supervises.

`bunker up` becomes this program by exec. A passphrase or key that was typed is gone with its
memory, no option that names a secret stands in this process's arguments, and it is small: it
imports nothing of the relay or the signer, and what serves a domain or a phone only where they are
asked for.
"""

import json
import os
import signal
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bunker.up.console import console_port, show_console
from bunker.up.screen import Screen
from bunker.up.supervise import Child, ChildFailed, Stopped, Supervisor
from bunker_core.errors import BunkerError
from bunker_core.local.process import become, module_command

if TYPE_CHECKING:
    from pathlib import Path

    from bunker.up.caddy import Site

_RELAY_READY: Final = "relay listening on "
_SIGNER_READY: Final = ("bunker://", "no URI is shown")
_MODULE: Final = "bunker.up.serve"
_WATCHDOG: Final = 7.0  # seconds without a sign of life


class Plan(NamedTuple):
    """What is to run. Of plain values alone: it goes through a pipe."""

    data: str
    relay_data: str
    signer_data: str
    caddy_data: str
    npub: str
    user_pubkey: str
    remote_signer_pubkey: str
    port: int
    pairs: bool  # whether a URI and a link are shown
    qr: bool | None  # None: what a phone can reach
    profile: str
    allow: str
    master_key_file: str  # "" for the one in the signer's data
    domain: str  # "" for loopback
    https_port: int
    internal_tls: bool
    console: str  # "" for none
    console_domain: str
    push_services: tuple[str, ...]  # origins of the owner's own
    notify: tuple[str, ...]
    desktop: bool
    own_relays: tuple[str, ...]
    auth_url: str
    phone: bool  # serve the page of a phone that holds a key
    phone_domain: str  # "" for this machine alone
    phone_port: int
    # What the screen says.
    protection: str
    recovery: str  # with a passphrase in it, on the first run
    recovery_later: str
    grants: str
    data_option: str
    signer_option: str
    folder: str = ""  # of this run alone, made by `serve`: there the children say that they live

    @property
    def draws_uri(self) -> bool:
        """Whether the URI is shown as a code: without a domain no phone reaches the relay."""
        return bool(self.domain) if self.qr is None else self.qr


def serve(plan: Plan) -> None:
    """Become the process that serves `plan`; never returns."""
    # What loads much is done here: its memory goes with this process.
    from tempfile import mkdtemp

    plan = plan._replace(folder=mkdtemp(prefix="bunker-"))
    # No instruction's columns, which mark a place within a traceback's line (PEP 657): a third of a
    # megabyte in each process.
    os.environ["PYTHONNODEBUGRANGES"] = "1"
    reader, writer = os.pipe()
    with open(writer, "w") as pipe:  # noqa: PTH123 -- a descriptor, not a path
        json.dump(plan._asdict(), pipe)
    os.set_inheritable(reader, True)
    become(module_command(_MODULE, str(reader)))


def main() -> int:
    """Serve the plan that stands in the pipe named by the only argument; return the exit code."""
    with open(int(sys.argv[1])) as pipe:  # noqa: PTH123 -- a descriptor, not a path
        value: dict[str, Any] = json.load(pipe)
    lists = {name: tuple(value[name]) for name in ("push_services", "notify", "own_relays")}
    plan = Plan(**{**value, **lists})
    try:
        return _serve(plan)
    except ChildFailed as error:
        return error.code if error.code > 0 else 1
    except (BunkerError, TimeoutError) as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201 -- as click does
        return 1
    except BrokenPipeError:  # whoever read along is gone; everything was stopped
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"Error: {error.filename}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 1
    finally:
        with suppress(OSError):
            os.rmdir(plan.folder)  # noqa: PTH106 -- no pathlib in this process


def _serve(plan: Plan) -> int:
    """Run it all; return the exit code. Raises ChildFailed, TimeoutError and BunkerError."""
    with suppress(Stopped), ExitStack() as stack:
        supervisor = Supervisor(plan.folder)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, supervisor.stop)
        stack.enter_context(supervisor)
        if plan.phone:
            _with_phone(plan, supervisor, stack)
        elif plan.domain:
            _with_domain(plan, supervisor)
        else:
            _on_loopback(plan, supervisor)
        supervisor.wait()
    print("\nstopped", flush=True)  # noqa: T201
    return 0


def _on_loopback(plan: Plan, supervisor: Supervisor) -> None:
    # Both at once: the signer has more to load than the relay, and tries again until it is there.
    port = plan.port or console_port("127.0.0.1:0")
    url = f"ws://127.0.0.1:{port}"
    relay, signer = _relay(plan, port), _signer(plan, url, None, {})
    screen_of = _Show(plan, url)
    _, lines = supervisor.start_all(relay, signer)
    screen_of(signer, lines)
    supervisor.watch(relay)
    supervisor.watch(signer, screen_of)


def _with_domain(plan: Plan, supervisor: Supervisor) -> None:
    from bunker.up.caddy import wait_until_console_served, wait_until_served

    relay, port, _ = _start_relay(plan, supervisor)
    site = _site(plan, port)
    caddy = _caddy(site)
    supervisor.start(caddy)
    wait_until_served(site, supervisor.pause)
    signer = _signer(plan, site.url, site, _trusting(site))
    screen_of = _Show(plan, site.url)
    lines = supervisor.start(signer)
    if site.console_domain:
        wait_until_console_served(site, supervisor.pause)
    screen_of(signer, lines)
    for child in (relay, caddy):
        supervisor.watch(child)
    supervisor.watch(signer, screen_of)


def _with_phone(plan: Plan, supervisor: Supervisor, stack: ExitStack) -> None:
    from pathlib import Path

    from bunker.up.caddy import wait_until_page_served, wait_until_served
    from bunker.up.phone import PhonePage

    signers = [plan.remote_signer_pubkey] if plan.npub else []
    page = PhonePage(Path(plan.data), plan.phone_port, plan.phone_domain, plan.https_port, signers)
    stack.callback(page.close)
    config = page.relay_config()
    relay, port, url = _start_relay(plan, supervisor, config)
    children = [relay]
    site = None
    if plan.domain:
        site = _site(plan, port, plan.phone_domain, page.port)
        caddy = _caddy(site)
        supervisor.start(caddy)
        children.append(caddy)
        wait_until_served(site, supervisor.pause)
        url = site.url
    page.serve(url, relay)
    if site is not None:
        wait_until_page_served(site, supervisor.pause)
    if plan.npub:
        signer, screen_of = _signer(plan, url, site, _trusting(site)), _Show(plan, url)
        screen_of(signer, supervisor.start(signer))
        supervisor.watch(signer, screen_of)
    for child in children:
        supervisor.watch(child)
    page.show(url, plan.qr)


def _start_relay(
    plan: Plan, supervisor: Supervisor, config: "Path | None" = None
) -> tuple[Child, int, str]:
    """Start the relay; return it, its port, which it keeps if it is restarted, and its URL."""
    relay = _relay(plan, plan.port, config)
    url = (supervisor.start(relay))[-1].removeprefix(_RELAY_READY)
    port = int(url.rpartition(":")[2])
    relay.command = _relay(plan, port, config).command  # known now, also if any was welcome
    return relay, port, url


def _site(plan: Plan, port: int, phone_domain: str = "", phone_port: int = 0) -> "Site":
    from pathlib import Path

    from bunker.up.caddy import Site

    return Site(
        plan.domain,
        port,
        Path(plan.caddy_data),
        plan.https_port,
        plan.internal_tls,
        plan.console_domain,
        console_port(plan.console) if plan.console and plan.console_domain else 0,
        phone_domain,
        phone_port,
    )


def _trusting(site: "Site | None") -> dict[str, str]:
    """Return the environment in which Caddy's own authority is believed too, if it is used."""
    if site is None or not site.internal:
        return {}
    from bunker.up.caddy import trusted_roots

    return {"SSL_CERT_FILE": str(trusted_roots(site))}


class _Show:
    """Shows the screen when the signer is there, and again when it had to be restarted."""

    def __init__(self, plan: Plan, url: str) -> None:
        self._plan = plan
        self._url = url
        self._recovery = plan.recovery

    def __call__(self, _child: Child, lines: list[str]) -> None:
        plan = self._plan
        screen = Screen(
            relay_url=self._url,
            npub=plan.npub,
            protection=plan.protection,
            memory=_memory(lines),
            recovery=self._recovery or plan.recovery_later,
            grants=plan.grants,
            pairs=plan.pairs,
            signer_option=plan.signer_option,
            data_option=plan.data_option,
        )
        self._recovery = ""  # a passphrase is shown once
        if plan.pairs and plan.draws_uri:
            from bunker_signer.cli.options import draw

            draw(lines[-1])  # on top: a small terminal has all the rest in view
        said = [screen.text(), *([f"{lines[-1]}\n"] if plan.pairs else [])]
        print("\n".join(said))  # noqa: T201
        show_console(lines, qr=plan.qr)
        print(screen.what_next(), flush=True)  # noqa: T201


def _relay(plan: Plan, port: int, config: "Path | None" = None) -> Child:
    command = module_command("bunker_relay", "run", "--host", "127.0.0.1")
    command += ["--port", str(port), "--data", plan.relay_data]
    if config is not None:  # its list of signers grows while the relay runs: no flag
        command += ["--config", str(config)]
    else:
        command += ["--profile", "private", "--signer", plan.remote_signer_pubkey]
    if plan.user_pubkey:
        command += ["--owner", plan.user_pubkey]
    environment = {}
    if plan.domain:
        suffix = "" if plan.https_port == 443 else f":{plan.https_port}"
        command += ["--url", f"wss://{plan.domain}{suffix}"]
        # Caddy says who the client is; without that all would share one rate limit.
        environment["BUNKER_RELAY_TRUSTED_PROXIES"] = "127.0.0.1"
    return Child("relay", command, ready=_RELAY_READY, environment=environment, watchdog=_WATCHDOG)


def _caddy(site: "Site") -> Child:
    from bunker.up.caddy import find_caddy, write_caddyfile

    path = write_caddyfile(site)
    command = [find_caddy(), "run", "--config", str(path), "--adapter", "caddyfile"]
    return Child("TLS server (Caddy)", command, environment={"HOME": str(site.data)})


def _signer(plan: Plan, url: str, site: "Site | None", environment: dict[str, str]) -> Child:
    command = module_command("bunker_signer", "run", "--data", plan.signer_data)
    command += ["--relay", url, "--profile", plan.profile, "--allow", plan.allow]
    command.append("--pair" if plan.pairs else "--no-pair")
    if plan.master_key_file:
        command += ["--master-key-file", plan.master_key_file]
    if site is not None and site.console_domain:
        command += ["--console", f"127.0.0.1:{site.console_port}"]
        command += ["--console-url", site.console_url, "--console-proxy", "127.0.0.1"]
    elif plan.console:
        command += ["--console", plan.console]
    for origin in plan.push_services:
        command += ["--console-push", origin]
    for relay in plan.own_relays:
        command += ["--own-relay", relay]
    if plan.desktop:
        command.append("--desktop")
    if plan.auth_url:
        command += ["--auth-url", plan.auth_url]
    if plan.notify:
        # Not as options: whoever knows the topic reads along, and options are for all to see.
        environment = {**environment, "BUNKER_SIGNER_NOTIFY": "\n".join(plan.notify)}
    # All functions are looked up at the start: doing it later saves registers on the stack, in
    # which a secret may be (see bunker_signer.nse.memory).
    environment = {**environment, "LD_BIND_NOW": "1"}
    return Child(
        "signer",
        command,
        ready=_SIGNER_READY,
        foreground=True,
        environment=environment,
        watchdog=_WATCHDOG,
    )


def _memory(lines: list[str]) -> str:
    """Return how the signer's memory is protected, in its own word."""
    return next((line.rpartition("memory ")[2] for line in lines if "memory " in line), "not said")


if __name__ == "__main__":
    sys.exit(main())
