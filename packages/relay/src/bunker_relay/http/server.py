"""uvicorn as the relay runs it: bind, announce, serve, reload, drain."""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Callable, Generator
from typing import Any, Final

import uvicorn
from starlette.types import Receive, Scope, Send

from bunker_core.local.memory import settle
from bunker_core.local.systemd import notify
from bunker_relay import logs
from bunker_relay.client.fair_reads import TURNS, InTurns
from bunker_relay.client.fast_path import FastPathProtocol, lacking
from bunker_relay.client.keepalive import PatientProtocol
from bunker_relay.config import Config, Profile
from bunker_relay.config.sources import ConfigError
from bunker_relay.event.lists import ListsError
from bunker_relay.http.accept import HTTPProtocol
from bunker_relay.http.app import create_app
from bunker_relay.http.watch import Watch
from bunker_relay.logs import log
from bunker_relay.metrics import MetricsServer
from bunker_relay.nodes.exclusive import StartError, bind, lock
from bunker_relay.nodes.workers import BEAT, Supervisor, Worker
from bunker_relay.relay import Relay
from bunker_relay.store.outcome import StoreError, is_damage

_METRICS_SECONDS: Final = 3.0
_YOUNG_OBJECTS: Final = 20_000
_TICKS: Final = 10  # a second


def serve(load: Callable[[], Config]) -> None:
    """Run a relay until SIGTERM or SIGINT; SIGHUP calls `load` again.

    Raises ConfigError or StartError, before anything is written.
    """
    config = load()
    logs.configure(config.log)
    if config.workers > 1 and not sys.platform.startswith("linux"):
        raise StartError("several workers need Linux; leave --workers out")
    listeners = bind(config.host, config.port, config.workers)
    with contextlib.ExitStack() as stack:
        for listener in listeners:
            stack.enter_context(listener)
        stack.enter_context(lock(config.data))
        if config.workers == 1:
            _run(config, load, listeners[0], None)
            return
        if config.profile is not Profile.BUNKER:
            import bunker_relay.store.store  # noqa: F401 -- loaded once, before the workers part
        Supervisor(
            run=lambda worker: _run(config, load, worker.listener, worker),
            listeners=listeners,
            data=config.data,
            shutdown_timeout=config.shutdown_timeout,
            announce=lambda: _announce(listeners[0]),
        ).serve()


def _run(
    config: Config, load: Callable[[], Config], listener: socket.socket, worker: Worker | None
) -> None:
    room = HTTPProtocol.configure(config)
    uvicorn_config = uvicorn.Config(
        _no_app_yet,
        http=HTTPProtocol,
        ws=_protocol(config),
        loop="uvloop",
        lifespan="off",
        access_log=False,  # it would name clients
        log_config=None,
        server_header=False,
        ws_max_size=config.limits.max_frame_bytes,
        ws_per_message_deflate=False,  # no bombs, and no compressing of ciphertext
        ws_ping_interval=config.ping_interval,
        ws_ping_timeout=config.ping_timeout,
        proxy_headers=False,  # `limits.Addresses` reads them
        timeout_graceful_shutdown=1,
    )
    _Server(uvicorn_config, config, load, listener, worker, room).run(sockets=[listener])


def _protocol(config: Config) -> type[PatientProtocol]:
    if config.plain:
        return _PlainProtocol if lacking() else _PlainInTurns
    return FastPathProtocol if _has_fast_path() else _PlainProtocol


def _has_fast_path() -> bool:
    """Tell whether this uvicorn has what the fast path uses; says so if it has not."""
    missing = lacking()
    if missing:
        log.warning(
            "this uvicorn is another than we know: messages take the ordinary, slower way",
            uvicorn=uvicorn.__version__,
            lacks=", ".join(missing),
            advice="upgrade nostr-bunker-relay, or set plain = true to be silent about it",
        )
    return not missing


def _announce(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    host = f"[{host}]" if ":" in host else host
    sys.stdout.write(f"relay listening on ws://{host}:{port}\n")
    sys.stdout.flush()
    notify("READY=1")


class _PlainProtocol(PatientProtocol):
    """Adds one thing to the scope: a way to drop a client that does not read."""

    async def run_asgi(self) -> None:
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions["bunker.abort"] = self.transport.abort
        extensions["bunker.leave"] = self.transport.close
        await super().run_asgi()


class _PlainInTurns(InTurns, _PlainProtocol):
    """The same, of a uvicorn that we know: and a way to have it read in turns with the others."""

    async def run_asgi(self) -> None:
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[TURNS] = self
        await super().run_asgi()


class _Server(uvicorn.Server):
    """Announces itself when it accepts connections, and says goodbye before it stops."""

    def __init__(
        self,
        config: uvicorn.Config,
        settings: Config,
        load: Callable[[], Config],
        listener: socket.socket,
        worker: Worker | None,
        room: int,
    ) -> None:
        super().__init__(config)
        self._room = room
        self._settings = settings
        self._load = load
        self._listener = listener
        self._worker = worker
        self._relay: Relay | None = None
        self._watch: Watch | None = None
        self._metrics: MetricsServer | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the store, listen, and only then say so."""
        settings = self._settings
        try:
            relay = self._relay = Relay(settings, self._worker)
            relay.admission.room = self._room
        except StoreError as error:
            if settings.database is not None:
                raise StartError(f"can't open the database: {error}") from error
            advice = (
                "`bunker relay salvage` takes out of it what can be read"
                if is_damage(error)
                else "check the directory, or choose another with --data"
            )
            raise StartError(
                f"can't open the database in {settings.data}: {error}; {advice}"
            ) from error
        except ListsError as error:
            raise StartError(str(error)) from error
        worker = self._worker
        if worker is not None:
            worker.opened()
            asyncio.get_running_loop().add_reader(worker.parent, self._parent_gone)
            if worker.reload:
                self._reload()
        if settings.metrics.port is not None and (worker is None or worker.index == 0):
            self._metrics = self._open_metrics(relay)
        self.config.loaded_app = create_app(relay)
        HTTPProtocol.counters = relay.parts.counters
        if self.config.ws is FastPathProtocol:
            HTTPProtocol.opens = relay.admission.opens
        self._watch = Watch(relay)
        await relay.open()
        await super().startup(sockets)
        settle()  # what is loaded now stays
        gc.enable()
        # A client that comes makes 200 objects that stay: at Python's own 700, collections are a
        # fifth of what many clients at once cost, and find nothing.
        gc.set_threshold(_YOUNG_OBJECTS, 10, 10)
        if worker is None:
            _announce(self._listener)
        else:
            worker.ready()
            self._beat(worker)
        log.debug("started", profile=settings.profile.value, gated=settings.gated)
        # In a thread, now that nobody waits for us: the first line is not to hold up a request.
        asyncio.get_running_loop().run_in_executor(None, log.prepare)

    async def on_tick(self, counter: int) -> bool:
        """Look after the relay once a second; called ten times as often."""
        if self._watch is not None and counter % _TICKS == 0:
            self._watch.look()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nobody new, take leave of the clients, commit what waits."""
        for server in self.servers:
            server.close()
        relay = self._relay
        if relay is not None:
            await relay.drain()
        await super().shutdown(sockets)
        if self._metrics is not None:
            self._metrics.close()
        if relay is not None:
            await relay.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Stop with exit code 0; uvicorn would raise the signal once more."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        yield

    def _beat(self, worker: Worker) -> None:
        """Give the parent a sign of life, again and again."""
        worker.alive()
        asyncio.get_running_loop().call_later(BEAT, self._beat, worker)

    def _parent_gone(self) -> None:
        """Stop: nobody is left who would start this worker again, or stop it."""
        if self._worker is not None:
            asyncio.get_running_loop().remove_reader(self._worker.parent)
        self.handle_exit(signal.SIGTERM, None)

    def _reload(self) -> None:
        if self._relay is None:
            return
        try:
            self._relay.take_lists()  # also when the configuration does not hold
        except ListsError as error:
            log.error("kept the old lists", reason=str(error))
        try:
            settings = self._load()
            self._relay.configure(settings)
            HTTPProtocol.reconfigure(settings)
        except ConfigError as error:
            log.error("kept the old configuration", reason=str(error))
            return
        logs.configure(settings.log)
        log.info("reloaded lists and limits")

    def _open_metrics(self, relay: Relay) -> MetricsServer:
        metrics = self._settings.metrics
        if metrics.port is None:
            raise AssertionError  # the caller has looked
        loop = asyncio.get_running_loop()

        def figures() -> dict[str, dict[str, float]]:  # from the thread that serves them
            return asyncio.run_coroutine_threadsafe(relay.figures(), loop).result(_METRICS_SECONDS)

        try:
            server = MetricsServer(figures, metrics.host, metrics.port)
        except OSError as error:
            raise StartError(
                f"can't serve metrics on {metrics.host} port {metrics.port}: {error.strerror};"
                " set metrics.port"
            ) from error
        log.info("metrics", port=server.port)
        return server


async def _no_app_yet(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise RuntimeError("the app is made when the loop runs")
