"""How the signer is connected."""

from starlette.responses import Response

from bunker_signer.console.routing import page
from bunker_signer.console.site import Visit


async def show(visit: Visit) -> Response:
    return visit.render("health.html", relays=await visit.console.signer.relays())


routes = [page("/health", show)]
