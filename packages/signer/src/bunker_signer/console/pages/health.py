"""How the signer is connected."""

from starlette.responses import Response

from bunker_signer.console.routing import Visit, page


async def show(visit: Visit) -> Response:
    return visit.render("health.html", relays=await visit.console.signer.relays())


routes = [page("/health", show)]
