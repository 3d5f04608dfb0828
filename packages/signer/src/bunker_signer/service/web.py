"""What the signer shows over HTTP: health and metrics. Nothing here can use or change anything."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bunker_core.errors import BunkerError
from bunker_core.local.sockets import listen
from bunker_signer.service.agent import Agent
from bunker_signer.service.listener import BoundedServer
from bunker_signer.store import StoreError, settings

_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"


def create_app(agent: Agent, waiting: Callable[[], int]) -> Starlette:
    """Return the app; `waiting` counts the requests that wait for a person."""

    def healthz(_: Request) -> Response:
        """200 while requests can reach us and be written down, else 503."""
        try:
            with agent.database.read() as connection:
                settings.get_relays(connection)
        except StoreError:
            database = "failed"
        else:
            database = "ok" if agent.has_room else "no room on the disk"
        serving = sorted(agent.live_relays)
        healthy = bool(serving) and database == "ok"
        body = {
            "status": "ok" if healthy else "failed",
            "database": database,
            "relays": {url: url in serving for url in agent.relays},
            "keys": {item.name: item.state.value for item in agent.identities.values()},
        }
        return JSONResponse(body, status_code=200 if healthy else 503)

    def metrics(_: Request) -> Response:
        keys = tuple(agent.identities.values())
        text = agent.metrics.text(
            waiting=waiting(),
            relays=len(agent.live_relays),
            unlocked={item.name: item.state.value == "unlocked" for item in keys},
        )
        return Response(text, media_type=_PROMETHEUS)

    return Starlette(routes=[Route("/healthz", healthz), Route("/metrics", metrics)])


@asynccontextmanager
async def serving(app: Starlette, address: str) -> AsyncIterator[str]:
    """Serve `app` at HOST:PORT (port 0 picks one); yields the URL. Raises BunkerError."""
    host, _, port = address.rpartition(":")
    try:
        listener = listen(host.strip("[]"), int(port))
    except (OSError, ValueError, OverflowError) as error:
        raise BunkerError(f"--http {address} can't be served: {error}") from None
    config = uvicorn.Config(
        app, lifespan="off", access_log=False, log_config=None, loop="none", ws="none"
    )
    server = BoundedServer(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        listener.close()
