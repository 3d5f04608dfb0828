"""The parts of one relay and how they hang together."""

from starlette.types import Receive, Scope, Send

from bunker_core.relay_url import parse_relay_url
from bunker_relay.config import Config
from bunker_relay.connection import Connection
from bunker_relay.hub import Hub
from bunker_relay.ingest import Ingest
from bunker_relay.store import FILE, Store


class Relay:
    """One running relay. Made on the event loop's thread; `close` it there."""

    def __init__(self, config: Config) -> None:
        """Open the store; raises StoreError."""
        self.config = config
        self.hub = Hub()
        self.store = Store(config.data / FILE)
        self.ingest = Ingest(self.hub, self.store, config.limits)
        self.connections: set[Connection] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one WebSocket (ASGI)."""
        await Connection(self, scope, receive, send).run()

    def urls_for(self, scope: Scope) -> frozenset[str]:
        """Return the relay URLs that an AUTH on this connection may name (NIP-42).

        The configured one, and the address at which the connection came in. Never the Host
        header: the client writes it, and another relay that forwards our challenge could too.
        """
        urls = set()
        if self.config.url is not None:
            urls.add(parse_relay_url(self.config.url))
        server = scope.get("server")
        if server is not None and server[1] is not None:
            host, port = server
            names = [f"[{host}]" if ":" in host else host]
            if host == "::1" or host.startswith("127."):
                names.append("localhost")
            urls.update(parse_relay_url(f"ws://{name}:{port}") for name in names)
        return frozenset(urls)

    async def drain(self) -> None:
        """Say goodbye to every client."""
        for connection in list(self.connections):
            await connection.shut_down()

    async def close(self) -> None:
        """Commit what waits and close the store."""
        await self.store.close()
