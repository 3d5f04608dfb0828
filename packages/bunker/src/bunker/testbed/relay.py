"""A relay on a free port of this process, which can be killed and restarted on it."""

from collections.abc import MutableMapping
from pathlib import Path

from bunker.testbed.server import HOST, Server
from bunker.testbed.thread import LoopThread
from bunker.testbed.transcript import Transcript
from bunker.testbed.wire import Party, Wire
from bunker_relay import relay as relays
from bunker_relay.config import Config
from bunker_relay.http.app import create_app


class Relay:
    """The real relay behind a real socket. `url` stays the same over a restart."""

    def __init__(
        self,
        thread: LoopThread,
        data: Path,
        parties: MutableMapping[str, Party],
        transcript: Transcript,
        *,
        profile: str = "open",
    ) -> None:
        """Start on a free port; `data` is an empty directory that is the caller's to remove."""
        self._thread = thread
        self._parties = parties
        self._transcript = transcript
        self._config = Config.of({"data": data, "profile": profile})
        self._running: tuple[relays.Relay, Server] | None = None
        self._port = 0
        self.restart()

    @property
    def url(self) -> str:
        """Where the relay listens."""
        return f"ws://{HOST}:{self._port}"

    @property
    def running(self) -> bool:
        """Whether the relay listens just now."""
        return self._running is not None

    def restart(self) -> None:
        """Start again on the same port, with what the relay has stored; stop it if it runs."""
        self.stop()
        self._running = self._thread.run(self._start())

    def stop(self) -> None:
        """Take leave of the clients and stop listening."""
        running, self._running = self._running, None
        if running is not None:
            self._thread.run(_stop(*running))

    def kill(self) -> None:
        """Break every connection without a word and stop listening, as if the power had gone."""
        running, self._running = self._running, None
        if running is not None:
            self._thread.run(_stop(*running, abort=True))

    async def _start(self) -> tuple[relays.Relay, Server]:
        relay = relays.Relay(self._config)
        app = Wire(create_app(relay), self._parties, self._transcript)
        server = Server(app, max_message_bytes=self._config.limits.max_frame_bytes)
        try:
            await server.start(self._port)
        except BaseException:
            await relay.close()
            raise
        self._port = server.port
        return relay, server


async def _stop(relay: relays.Relay, server: Server, *, abort: bool = False) -> None:
    server.hide()
    if abort:
        server.abort()
    else:
        await relay.drain()
    await server.stop()
    await relay.close()
