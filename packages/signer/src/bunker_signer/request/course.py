"""How a request is answered without a task: by callbacks, and a task only for what is left."""

import asyncio
from collections.abc import Awaitable, Callable

from bunker_signer.request.reply import Reply

# What is left to do; called once and awaited, or let go of.
Remaining = Callable[[], Awaitable[Reply | None]]
# Neither of the two may raise: whoever calls it has let go of the request.
Then = Callable[[Reply | None], None]  # is given the answer, or None when there is none to give
Rest = Callable[[Remaining], None]  # is given what takes longer, and has to see that it runs


async def awaited(start: Callable[[Then, Rest], None]) -> Reply | None:
    """Call `start`, and return or raise whatever comes of it in the end."""
    told: asyncio.Future[Reply | Remaining | None] = asyncio.get_running_loop().create_future()

    def tell(outcome: Reply | Remaining | None) -> None:
        if not told.done():
            told.set_result(outcome)  # else who waited was cancelled

    start(tell, tell)
    outcome = await told
    return await outcome() if callable(outcome) else outcome


def raising(error: Exception) -> Remaining:
    """Return a rest that raises `error` where it is awaited."""

    async def fail() -> Reply | None:
        raise error

    return fail
