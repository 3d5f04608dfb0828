"""The signer's console under `bunker up`: where it listens, its name, and how it is shown."""

import socket
from importlib.util import find_spec

from bunker_core.errors import BunkerError
from bunker_core.local.extras import how_to_install


def console_address(wanted: str | None, port: int) -> str | None:
    """Return where the console listens; None without one, or where its extra is not installed."""
    if wanted is None:
        from bunker_signer.console import LIBRARIES

        installed = all(map(find_spec, LIBRARIES))
        return f"127.0.0.1:{port + 1 if port else 0}" if installed else None
    return None if wanted == "off" else wanted


def check_console_domain(console_domain: str, domain: str | None, console: str | None) -> None:
    """Raise BunkerError where a console's name makes no sense."""
    if not console_domain:
        return
    if domain is None:
        raise BunkerError("--console-domain needs --domain NAME, the relay's own name")
    if console_domain.lower() == domain.lower():
        raise BunkerError("--console-domain needs another name than --domain: see docs/console.md")
    if console is not None:
        raise BunkerError("--console and --console-domain: one or the other")
    if console_address(None, 0) is None:
        raise BunkerError(
            f"the console is not installed: {how_to_install('nostr-bunker-signer', 'console')}"
        )


def check_push(services: tuple[str, ...], console: str | None, port: int) -> None:
    """Raise BunkerError where a push service is named and no console wakes anybody."""
    if services and console_address(console, port) is None:
        raise BunkerError(
            "--console-push needs the console: leave out `--console off`; where it is missing, "
            f"{how_to_install('nostr-bunker-signer', 'console')}"
        )


def console_port(listens: str) -> int:
    """Return the port at which Caddy finds the console; for port 0 a free one."""
    port = int(listens.rpartition(":")[2])
    if port:
        return port
    # Any port will do. Caddy has to be told it before the signer starts.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def show_console(lines: list[str], *, qr: bool | None) -> None:
    """Show where the console is, by what the signer printed: until a device is bound, a link."""
    link = next((line for line in lines if "/bind/" in line), None)
    origin = next((line.split()[1] for line in lines if line.startswith("console ")), None)
    if link is None:
        if origin is not None:
            _say(f"Answer at {origin}; `bunker signer console` binds a device.\n")
        return
    here = "://localhost" in link
    _say(
        "Answer in the browser: open this here, good once and for ten minutes."
        if here
        else "Answer on your phone: scan this with it, good once and for ten minutes."
    )
    if qr is not False and not here:
        from bunker_signer.cli.options import draw  # loads what the supervisor can do without

        draw(link)
    _say(f"{link}\n")


def _say(text: str) -> None:
    print(text)  # noqa: T201
