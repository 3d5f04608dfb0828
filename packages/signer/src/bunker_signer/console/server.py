"""Where the console listens, in the signer's process.

Its pages and the server of HTTP are loaded when the first browser connects: they take seven
megabytes, which a signer that is answered at a terminal or by a notification can do without.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from bunker_core.errors import BunkerError
from bunker_core.local.memory import settle
from bunker_core.local.sockets import listen
from bunker_signer.approvers.pusher import Pusher
from bunker_signer.console import LIBRARIES
from bunker_signer.console.auth.address import Address, parse_address, reachable_address
from bunker_signer.console.view.waiting import Waiting
from bunker_signer.key.identity import Identity
from bunker_signer.process.logs import get_logger
from bunker_signer.service.service import Service
from bunker_signer.store.accounts import FILE_NAME, Accounts

if TYPE_CHECKING:
    from bunker_signer.console.site import Console
    from bunker_signer.service.listener import BoundedServer

STOP_TIMEOUT: Final = 3  # seconds for answers on their way when the signer stops
MIN_PASSWORD: Final = 16  # characters: five tries a minute do not find one
_URL: Final = "url"  # the address that `bunker signer console` makes links for

log = get_logger(__name__)


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
        """Bind; raises BunkerError, and ModuleNotFoundError where a page would."""
        for name in LIBRARIES:
            if find_spec(name) is None:
                raise ModuleNotFoundError(name=name)
        self._config = config
        self._password = None if config.password is None else _digest_of(config.password)
        host, _, port = config.listen.rpartition(":")
        host = host.strip("[]")
        if (config.certificate is None) != (config.private_key is None):
            raise BunkerError("--console-cert and --console-key belong together")
        self._tls = _tls_context(config)
        try:
            for proxy in config.proxies:
                ip_network(proxy)
        except ValueError:
            raise BunkerError(f"--console-proxy {proxy} is no address and no network") from None
        try:
            self._socket = listen(host, int(port))
        except (OSError, ValueError, OverflowError) as error:
            raise BunkerError(f"--console {config.listen} can't be served: {error}") from None
        try:
            tls = config.certificate is not None
            self.address: Final[Address] = (
                parse_address(config.url)
                if config.url
                else reachable_address(host, self._socket.getsockname()[1], tls=tls)
            )
        except (BunkerError, OSError, ValueError):
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
    ) -> AsyncIterator[Accounts]:
        """Serve the console of `service` while in the block; raises BunkerError."""
        accounts = Accounts(data / FILE_NAME)
        try:
            accounts.remember(_URL, self.address.origin)
            self.pusher.open(accounts)
            notify = service.jobs.on_locked

            def locked_out(identity: Identity) -> None:
                notify(identity)
                self.waiting.tell()  # the page says that something waits for an unlock

            service.jobs.on_locked = locked_out
            pages = Pages(self._socket, lambda: self._make(accounts, service, clock))
            pages.open()
            try:
                yield accounts
            finally:
                await pages.close()
                await self.pusher.close()
        finally:
            accounts.close()

    def _make(
        self, accounts: Accounts, service: Service, clock: Callable[[], float]
    ) -> "tuple[Console, BoundedServer]":
        import uvicorn

        from bunker_signer.console.app import create_app, shown
        from bunker_signer.console.signer import Signer
        from bunker_signer.console.site import Console
        from bunker_signer.service.listener import BoundedServer

        signer = Signer(service.agent, service.keystore, service.own_relays, clock)
        console = Console(self.address, accounts, self.waiting, signer, self.pusher, shown, clock)
        console.first_password = self._password
        tls = self._tls
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
            http="h11",  # as in `listener`
            ws="none",
            timeout_keep_alive=30,
            timeout_graceful_shutdown=STOP_TIMEOUT,
            ssl_context_factory=None if tls is None else lambda *_: tls,
        )
        return console, BoundedServer(config, self._config.proxies)

    def close(self) -> None:
        """Give the port back."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Pages:
    """The console and its server, made when the first browser connects.

    In a thread: clients are answered while it is loaded. Who comes meanwhile waits to be accepted.
    """

    def __init__(
        self, listening: socket.socket, make: "Callable[[], tuple[Console, BoundedServer]]"
    ) -> None:
        self._listening = listening
        self._make = make
        self._made: tuple[Console, BoundedServer] | None = None

    def open(self) -> None:
        """Serve from now on."""
        self._serving = asyncio.create_task(self._serve())

    async def close(self) -> None:
        """Accept nobody any more; streams are ended, other answers have their time."""
        if self._made is None:
            self._serving.cancel()
        else:
            console, server = self._made
            console.close()
            server.should_exit = True
        with suppress(asyncio.CancelledError):
            await self._serving

    async def _serve(self) -> None:
        await _visitor(self._listening)
        self._made = await asyncio.to_thread(self._make_for_good)
        if self._made is None:
            self._listening.close()  # nobody is to wait for an answer
            return
        await self._made[1].serve(sockets=[self._listening])

    def _make_for_good(self) -> "tuple[Console, BoundedServer] | None":
        try:
            made = self._make()
        except Exception as error:  # noqa: BLE001 -- whatever it is, it is said; the signer goes on
            # Such as an update: the files are not those with which the signer was started.
            log.error("the console can't be loaded; start the signer anew", error=str(error))
            return None
        settle()  # as after the start: no collection has to look at it again
        return made


async def _visitor(listening: socket.socket) -> None:
    """Return when somebody waits to be accepted."""
    loop = asyncio.get_running_loop()
    came = asyncio.Event()
    loop.add_reader(listening, came.set)
    try:
        await came.wait()
    finally:
        loop.remove_reader(listening)


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


def _tls_context(config: ConsoleConfig) -> ssl.SSLContext | None:
    """Return what TLS is spoken with, if it is; raises BunkerError."""
    if config.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(config.certificate, config.private_key)
    except OSError as error:  # also ssl.SSLError
        raise BunkerError(f"--console-cert or --console-key: {error}") from None
    return context


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
