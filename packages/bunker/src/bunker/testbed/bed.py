"""A testbed: relays, signers and clients that live and end together, and leave no files."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from starlette.types import ASGIApp

from bunker.testbed.client import Client
from bunker.testbed.relay import Relay
from bunker.testbed.server import Server
from bunker.testbed.signer import Script, Signer
from bunker.testbed.thread import LoopThread
from bunker.testbed.transcript import Transcript

if TYPE_CHECKING:
    from bunker.testbed.wire import Party


class Testbed:
    """Makes relays, signers and clients. All end with the context, the last first."""

    __test__ = False  # pytest would take it for a class of tests

    def __init__(self) -> None:
        self.transcript = Transcript()
        self.relays: list[Relay] = []
        self.signers: list[Signer] = []
        self._stack = ExitStack()
        self._thread = LoopThread()
        self._parties: dict[str, Party] = {}
        self._directory: Path | None = None

    def __enter__(self) -> Self:
        directory = self._stack.enter_context(
            tempfile.TemporaryDirectory(prefix="bunker-testbed-", ignore_cleanup_errors=True)
        )
        self._directory = Path(directory)
        self._stack.enter_context(self._thread)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def relay(self, *, profile: str = "open") -> Relay:
        """Start another relay; `profile` is open or bunker (signing alone, no database)."""
        data = self._path(f"relay-{len(self.relays)}")
        relay = Relay(self._thread, data, self._parties, self.transcript, profile=profile)
        self._stack.callback(relay.stop)
        self.relays.append(relay)
        return relay

    def signer(
        self,
        *relays: Relay,
        secret_key: bytes | None = None,
        allow: str | None = None,
        approver: Script | None = None,
    ) -> Signer:
        """Start another signer, on `relays` or the first one, which is started if there is none.

        The arguments are those of `Signer`.
        """
        on = relays or (self.relays[0] if self.relays else self.relay(),)
        signer = Signer(
            self._thread,
            [relay.url for relay in on],
            self._path(f"signer-{len(self.signers)}"),
            self._parties,
            secret_key=secret_key,
            allow=allow,
            approver=approver,
        )
        self._stack.callback(signer.close)
        self.signers.append(signer)
        return signer

    def client(self, signer: Signer | str, *, timeout: float = 10.0) -> Client:
        """Pair another client with `signer`, or by a bunker:// URI."""
        uri = signer if isinstance(signer, str) else signer.uri
        client = Client(self._thread, uri, timeout=timeout)
        self._stack.callback(client.close)
        return client

    def serve(self, app: ASGIApp, port: int = 0) -> int:
        """Serve another app beside the relays; return its port. Raises OSError."""

        async def start() -> Server:
            server = Server(app)
            await server.start(port)
            return server

        server = self._thread.run(start())
        self._stack.callback(lambda: self._thread.run(server.stop()))
        return server.port

    def _path(self, name: str) -> Path:
        if self._directory is None:
            raise RuntimeError("a testbed is used inside its context")
        path = self._directory / name
        path.mkdir()
        return path
