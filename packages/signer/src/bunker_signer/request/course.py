"""How a request is answered without a task: by callbacks, and a coroutine only for what is left."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from bunker_signer.request.reply import Reply

Remaining = Coroutine[Any, Any, Reply | None]
# Neither of the two may raise: whoever calls it has let go of the request.
Then = Callable[[Reply | None], None]  # is given the answer, or None when there is none to give
Rest = Callable[[Remaining], None]  # is given what takes longer, and has to see that it runs


async def awaited(start: Callable[[Then, Rest], None]) -> Reply | None:
    """Call `start`, and return or raise whatever comes of it in the end."""
    told: asyncio.Future[Reply | Remaining | None] = asyncio.get_running_loop().create_future()

    def tell(outcome: Reply | Remaining | None) -> None:
        if not told.done():
            told.set_result(outcome)
        elif asyncio.iscoroutine(outcome):
            outcome.close()  # who waited was cancelled

    start(tell, tell)
    outcome = await told
    return await outcome if asyncio.iscoroutine(outcome) else outcome


async def raising(error: Exception) -> Reply | None:
    """Raise `error` where the rest of a request is awaited."""
    raise error
