"""What makes the page installable as an app: manifest, service worker, offline page."""

from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bunker_signer.console.routing import page, visit_of
from bunker_signer.console.site import Visit

_STATIC: Final = files("bunker_signer.console") / "static"


async def manifest(request: Request) -> Response:
    t = visit_of(request).texts
    return JSONResponse(
        {
            "id": "/",
            "name": t("site.name"),
            "short_name": t("site.short"),
            "description": t("site.description"),
            "lang": t.language,
            "start_url": "/requests",
            "scope": "/",
            "display": "standalone",
            "background_color": "#f4f4f7",
            "theme_color": "#f4f4f7",
            "icons": [
                {"src": "/static/icon.svg", "sizes": "any", "type": "image/svg+xml"},
                {"src": "/static/icon-192.png", "sizes": "192x192", "type": "image/png"},
                {"src": "/static/icon-512.png", "sizes": "512x512", "type": "image/png"},
                {
                    "src": "/static/icon-maskable-512.png",
                    "sizes": "512x512",
                    "type": "image/png",
                    "purpose": "maskable",
                },
            ],
        },
        media_type="application/manifest+json",
    )


async def worker(_: Request) -> Response:
    # At the root, because a worker serves what lies beside and below it.
    text = (_STATIC / "worker.js").read_text(encoding="utf-8")
    return Response(text, media_type="text/javascript")


async def alive(_: Request) -> Response:
    return Response(status_code=204)


async def offline(visit: Visit) -> Response:
    return visit.render("offline.html")


routes = [
    Route("/manifest.webmanifest", manifest),
    Route("/worker.js", worker),
    Route("/alive", alive),
    page("/offline", offline, public=True),
]
