"""Server-sent events: a page of requests learns at once what comes and what is over.

The stream knows which question its page shows. That one is never swapped for another under a
thumb that is about to tap: when it is over, the page says so; only an empty page gets the next.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from starlette.responses import Response, StreamingResponse

from bunker_signer.console.site import Console, Visit

HEARTBEAT: Final = 20.0  # seconds of silence after which a comment keeps proxies from hanging up
MAX_STREAMS: Final = 64  # open pages of all devices


async def events(visit: Visit) -> Response:
    """Stream changes. In the query: `shown`, the page's request; `over`, if it shows that as over.

    A page can be there before its request: an app is sent the link as the request comes in.
    """
    console = visit.console
    if console.streams >= MAX_STREAMS:
        return Response(status_code=503)
    shown = visit.request.query_params.get("shown", "")[:64]
    over = visit.request.query_params.get("over", "") == "1"
    return StreamingResponse(
        _stream(visit, console, shown, over=over), media_type="text/event-stream"
    )


async def _stream(visit: Visit, console: Console, shown: str, *, over: bool) -> AsyncIterator[str]:
    console.streams += 1
    told = ""
    try:
        while not console.closing:
            change = console.waiting.change()
            # Each time: a device that was unbound while the page was open sees nothing more.
            if console.accounts.device(visit.request.state.device_token, console.now()) is None:
                yield _event("unbound", "")
                return
            questions = console.waiting.questions()
            template = ""
            if not shown and questions:
                shown = questions[0].items[0].request
                template = "parts/question.html"
                yield _event("shown", shown)
            elif shown and not over and console.waiting.find(shown) is None:
                over = True
                template = "parts/over.html"
            elif over and console.waiting.find(shown) is not None:
                over = False  # asked only now, or again after a restart
                template = "parts/question.html"
            elif shown and not over:
                # More is known of the request than when its card was made.
                card = console.fragment(visit, "parts/question.html", shown=shown)
                if told and card != told:
                    template = "parts/question.html"
                told = card
            if template:
                yield _event("question", console.fragment(visit, template, shown=shown))
            # Last: by it a page that was cut off knows that it is up to date. Nor is what is shown
            # in this list of the others.
            yield _event("waiting", console.fragment(visit, "parts/waiting.html", shown=shown))
            async for beat in _until(change, console):
                yield beat
    finally:
        console.streams -= 1


async def _until(change: asyncio.Event, console: Console) -> AsyncIterator[str]:
    while not change.is_set() and not console.closing:
        try:
            async with asyncio.timeout(HEARTBEAT):
                await change.wait()
        except TimeoutError:
            yield ": still here\n\n"


def _event(name: str, data: str) -> str:
    lines = "".join(f"data: {line}\n" for line in data.splitlines()) or "data:\n"
    return f"event: {name}\n{lines}\n"
