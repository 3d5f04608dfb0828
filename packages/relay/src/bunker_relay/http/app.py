"""The Starlette application: one address for the WebSocket, NIP-11, NIP-86 and a browser."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from bunker_relay.http.admin import CONTENT_TYPE, Admin
from bunker_relay.http.health import Health
from bunker_relay.http.info import MEDIA_TYPE, document
from bunker_relay.http.page import HEADERS, page
from bunker_relay.http.push import Push
from bunker_relay.relay import Relay

# NIP-11: a web client of any origin may read the document.
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
}


def create_app(relay: Relay) -> Starlette:
    """Return the application that serves `relay`."""
    admin = Admin(relay)
    health = Health(relay)
    push = Push(relay)

    async def root(request: Request) -> Response:
        match request.method:
            case "OPTIONS":
                response = Response(status_code=204)
            case "POST" if _media_type(request) == CONTENT_TYPE:
                response = await admin.answer(request)
            case "POST":
                response = Response(status_code=405, headers={"Allow": "GET, OPTIONS"})
            case _ if MEDIA_TYPE in request.headers.get("accept", "").lower():
                response = JSONResponse(document(relay.config), media_type=MEDIA_TYPE)
            case _ if _wants_json(request):
                response = JSONResponse(document(relay.config))
            case _:
                figures = (await relay.figures()).values()
                connections = sum(int(found["connections_open"]) for found in figures)
                response = HTMLResponse(page(relay.config, connections), headers=HEADERS)
        response.headers.update(_CORS)
        return response

    # Ours first: a path of the owner's choice can't take their place.
    return Starlette(
        routes=[
            Route("/healthz", health.healthz),
            Route("/readyz", health.readyz),
            Route("/push", push.answer, methods=["GET", "POST", "DELETE", "OPTIONS"]),
            Route("/push/test", push.answer, methods=["POST", "OPTIONS"]),
            *(
                route
                for path in relay.config.paths
                for route in (
                    Route(path, root, methods=["GET", "POST", "OPTIONS"]),
                    WebSocketRoute(path, relay.admission),
                )
            ),
        ]
    )


def _media_type(request: Request) -> str:
    """Return the media type of a body, without parameters such as a charset (RFC 9110, 8.3)."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _wants_json(request: Request) -> bool:
    accepted = request.headers.get("accept", "").lower()
    return "application/json" in accepted and "text/html" not in accepted
