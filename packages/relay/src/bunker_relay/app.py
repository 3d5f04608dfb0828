"""The Starlette application: one address for the WebSocket, NIP-11 and a browser."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute

from bunker_relay.info import document
from bunker_relay.relay import Relay

# NIP-11: a web client of any origin may read the document.
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
}


def create_app(relay: Relay) -> Starlette:
    """Return the application that serves `relay`."""

    async def root(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=_CORS)
        if "application/nostr+json" in request.headers.get("accept", ""):
            return JSONResponse(
                document(relay.config), media_type="application/nostr+json", headers=_CORS
            )
        return PlainTextResponse(f"{relay.config.name}: connect with a Nostr client\n")

    return Starlette(
        routes=[
            Route("/", root, methods=["GET", "OPTIONS"]),
            WebSocketRoute("/", relay),
        ]
    )
