"""A web app that signs for its owner; run with `uvicorn web_app:app` (FastAPI is Starlette)."""

import os
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from bunker_client import ClientError, signer_from


@asynccontextmanager
async def lifespan(app):
    async with signer_from(os.environ.get("BUNKER_URI", "session:default")) as app.state.signer:
        yield  # one connection for all requests, for as long as the app runs


async def post_note(request):
    try:
        note = {"kind": 1, "content": (await request.body()).decode()}
        event = await request.app.state.signer.sign_event(note)
    except ClientError as error:  # its text says where the request came to an end
        return JSONResponse({"error": str(error)}, status_code=503)
    return JSONResponse(event.to_dict())


app = Starlette(lifespan=lifespan, routes=[Route("/notes", post_note, methods=["POST"])])
