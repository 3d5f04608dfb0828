"""`bunker up --phone`: the page whose browser is the signer, beside a relay that can wake it."""

import asyncio
import json
import secrets
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

from bunker.phones import FOLDER, RELAY_URL
from bunker.up.supervise import Child
from bunker_core.local.files import write_private
from bunker_phone.app import Host, create_app
from bunker_phone.phones import LIFETIME, Phones
from bunker_phone.server import listen, server
from bunker_phone.site import load
from bunker_signer.cli.options import show_uri

_CONFIG: Final = "relay.toml"
_GRACE: Final = 30  # seconds that a request waits for a phone that wakes up
_STOP: Final = 3.0  # seconds until the page's server is left alone


class PhonePage:
    """The page's server in this process, and the relay's list of signers that it writes."""

    def __init__(
        self, data: Path, port: int, phone_domain: str, https_port: int, signers: Sequence[str]
    ) -> None:
        """Take the port; raises BunkerError. `signers` are those that hold a key on this machine.

        `phone_domain` is "" for this machine alone, which browsers reach as localhost.
        """
        self._site = load()
        self._folder = data / FOLDER
        self._phones = Phones(self._folder)
        self._signers = tuple(signers)
        self._listener = listen("127.0.0.1", port)
        self.port: int = self._listener.getsockname()[1]
        suffix = "" if https_port == 443 else f":{https_port}"
        self.public = bool(phone_domain)
        self.origin = (
            f"https://{phone_domain}{suffix}" if phone_domain else f"http://localhost:{self.port}"
        )
        self._thread: threading.Thread | None = None

    def relay_config(self) -> Path:
        """Write the relay's configuration and return its path; raises OSError, BunkerError."""
        signers = [*self._signers, *(phone.pubkey for phone in self._phones.all())]
        # A relay without signers would serve everybody's. Nobody has the key of this one.
        signers = signers or [secrets.token_hex(32)]
        text = (
            f'profile = "{"private" if self._signers else "bunker"}"\n'
            f"signers = {json.dumps(signers)}\n\n"
            f"[grace]\nseconds = {_GRACE}\n\n[push]\nenabled = true\n"
        )
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / _CONFIG
        write_private(path, text.encode(), replace=True)
        return path

    def serve(self, relay_url: str, relay: Child) -> None:
        """Serve the page from now on, by a thread; a phone that joins becomes one of the relay's
        signers.
        """

        def joined(pubkey: str) -> None:
            self.relay_config()
            process = relay.process
            if process is not None and process.returncode is None:
                process.send_signal(signal.SIGHUP)
            click.echo(f"a phone joined: {pubkey}")

        write_private(self._folder / RELAY_URL, f"{relay_url}\n".encode(), replace=True)
        host = Host(self.origin, (relay_url,), joined)
        self._server = server(create_app(self._site, self._phones, host), signals=False)
        serving = self._server.serve(sockets=[self._listener])
        self._thread = threading.Thread(target=asyncio.run, args=(serving,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        if self._thread is not None:
            self._server.should_exit = True
            self._thread.join(_STOP)
        self._listener.close()

    def show(self, relay_url: str, qr: bool | None) -> None:
        """Say where the page is, with a link that lets one phone join."""
        link = f"{self.origin}/#join={self._phones.new_link()}"
        known = self._phones.all()
        click.echo(
            "A phone holds the key: it never lies on this machine."
            if not self._signers
            else "A phone can hold a key of its own beside the signer on this machine."
        )
        click.echo(f"  relay     {relay_url} (for your signers and their apps alone)")
        click.echo(f"  page      {self.origin}")
        click.echo(f"  hash      {self._site.hash}")
        for phone in known:
            click.echo(f"  phone     {phone.name}, {phone.pubkey}")
        where = "Scan this with the phone" if self.public else "Open this in a browser here"
        click.echo(f"\n{where}; it lets one in, within {LIFETIME // 60} minutes:")
        show_uri(link, self.public if qr is None else qr)
        click.echo()
