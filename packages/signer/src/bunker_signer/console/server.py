"""Where the console listens, in the signer's process."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_network
from pathlib import Path
from typing import Final, Self

import uvicorn

from bunker_core.errors import BunkerError
from bunker_signer.approvers.pusher import Pusher
from bunker_signer.console.app import create_app, shown
from bunker_signer.console.auth.address import Address, parse_address, reachable_address
from bunker_signer.console.signer import Signer
from bunker_signer.console.site import Console
from bunker_signer.console.view.waiting import Waiting
from bunker_signer.key.identity import Identity
from bunker_signer.service.entrance import EntranceServer
from bunker_signer.service.service import Service
from bunker_signer.store.accounts import FILE_NAME, Accounts

STOP_TIMEOUT: Final = 3  # seconds for answers on their way when the signer stops
MIN_PASSWORD: Final = 16  # characters: five tries a minute do not find one
_URL: Final = "url"  # the address that `bunker signer console` makes links for


@dataclass(frozen=True, slots=True)
class ConsoleConfig:
    """What an owner can set."""

    listen: str  # HOST:PORT; port 0 picks one
    url: str = ""  # where browsers come, if a proxy stands between
    proxies: tuple[str, ...] = ()  # addresses and networks that say who comes
    certificate: Path | None = None
    private_key: Path | None = None
    # Origins of push services of the owner's own: neither https nor a public address is asked of
    # them.
    push_services: tuple[str, ...] = ()
    # A file with a password that binds the first device, while there is none and no passkey.
    password: Path | None = None


class Listening:
    """A bound console: its address is known, and requests can wait in it."""

    def __init__(self, config: ConsoleConfig) -> None:
        """Bind; raises BunkerError."""
        self._config = config
        self._password = None if config.password is None else _digest_of(config.password)
        host, _, port = config.listen.rpartition(":")
        host = host.strip("[]")
        if (config.certificate is None) != (config.private_key is None):
            raise BunkerError("--console-cert and --console-key belong together")
        try:
            for proxy in config.proxies:
                ip_network(proxy)
        except ValueError:
            raise BunkerError(f"--console-proxy {proxy} is no address and no network") from None
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((host, int(port)))
            self._socket.listen(128)  # who is told the address may come at once
            tls = config.certificate is not None
            self.address: Final[Address] = (
                parse_address(config.url)
                if config.url
                else reachable_address(host, self._socket.getsockname()[1], tls=tls)
            )
        except (OSError, ValueError, OverflowError) as error:
            self._socket.close()
            raise BunkerError(f"--console {config.listen} can't be served: {error}") from None
        except BunkerError:
            self._socket.close()
            raise
        self.waiting: Final = Waiting()
        self.pusher: Final = Pusher(
            self.address.origin if self.address.secure else "", config.push_services
        )

    @property
    def link(self) -> str:
        """Where a notification about a request leads; {id} is the request's."""
        return f"{self.address.origin}/requests/{{id}}"

    @property
    def auth_url(self) -> str:
        """Where an app sends its user while a request waits; {request} is the request's id."""
        return f"{self.address.origin}/requests/{{request}}"

    @asynccontextmanager
    async def serve(
        self, data: Path, service: Service, clock: Callable[[], float] = time.time
    ) -> AsyncIterator[Console]:
        """Serve the console of `service` while in the block; raises BunkerError."""
        accounts = Accounts(data / FILE_NAME)
        try:
            accounts.remember(_URL, self.address.origin)
            signer = Signer(service.agent, service.keystore, service.own_relays, clock)
            self.pusher.open(accounts)
            console = Console(
                self.address, accounts, self.waiting, signer, self.pusher, shown, clock
            )
            console.first_password = self._password
            notify = service.jobs.on_locked

            def locked_out(identity: Identity) -> None:
                notify(identity)
                self.waiting.tell()  # the page says that something waits for an unlock

            service.jobs.on_locked = locked_out
            server = EntranceServer(self._uvicorn(console), self._config.proxies)
            task = asyncio.create_task(server.serve(sockets=[self._socket]))
            try:
                yield console
            finally:
                server.should_exit = True
                console.close()
                await self.pusher.close()
                await task
        finally:
            accounts.close()

    def _uvicorn(self, console: Console) -> uvicorn.Config:
        config = uvicorn.Config(
            create_app(console),
            lifespan="off",
            access_log=False,  # an address can hold the token that binds a device
            log_config=None,
            server_header=False,
            # Without it all who come through a proxy would share one count of failures.
            proxy_headers=bool(self._config.proxies),
            forwarded_allow_ips=list(self._config.proxies),
            loop="none",
            ws="none",
            timeout_keep_alive=30,
            timeout_graceful_shutdown=STOP_TIMEOUT,
            ssl_certfile=self._config.certificate,
            ssl_keyfile=self._config.private_key,
        )
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            raise BunkerError(f"--console-cert or --console-key: {error}") from None
        return config

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def new_link(data: Path, now: int) -> str:
    """Return a link that binds one device to the console that runs, or ran, on `data`.

    Raises BunkerError.
    """
    if not (data / FILE_NAME).exists():
        raise BunkerError(f"{data} has no console: start it with --console HOST:PORT")
    accounts = Accounts(data / FILE_NAME)
    try:
        return f"{accounts.recall(_URL)}/bind/{accounts.new_link(now)}"
    finally:
        accounts.close()


def _digest_of(path: Path) -> bytes:
    """Return the SHA-256 of the password in a file; raises BunkerError."""
    try:
        password = path.read_bytes().strip()
    except OSError as error:
        raise BunkerError(f"--console-password-file {path}: {error.strerror}") from None
    if len(password) < MIN_PASSWORD:
        raise BunkerError(
            f"--console-password-file {path}: fewer than {MIN_PASSWORD} characters is guessed soon"
        )
    return sha256(password).digest()
