"""Run cases, many at once, and reach a verdict on each."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from websockets.exceptions import ConnectionClosed, InvalidHandshake

from bunker.conformance.case import Case, Outcome, Result, Verdict
from bunker.conformance.wire.trace import Trace
from bunker_core.errors import BunkerError

CASE_LIMIT: Final = 60.0  # seconds after which a case is given up, whatever it waits for
PATIENCE: Final = 5.0  # seconds that a case waits for one answer, unless told otherwise

# Makes what a check works with: a relay's address and connections to it, and the like.
MakeKit = Callable[[Trace], AbstractAsyncContextManager[Any]]


async def judge(case: Case, make_kit: MakeKit) -> Result:
    """Run one case and return its verdict. Raises nothing that a target can cause."""
    trace = Trace()
    began = time.monotonic()
    verdict, reason = Verdict.PASS, ""
    try:
        async with asyncio.timeout(CASE_LIMIT), make_kit(trace) as kit:
            await case.check(kit)
    except Outcome as outcome:
        verdict, reason = outcome.verdict, str(outcome)
    except TimeoutError:
        verdict, reason = Verdict.HANGS, f"the case did not end within {CASE_LIMIT:g} s"
    except ConnectionClosed as closed:
        code = closed.rcvd.code if closed.rcvd else 1006
        text = closed.rcvd.reason if closed.rcvd else ""
        verdict, reason = (
            Verdict.FAIL,
            f"the connection was closed ({code} {text})".replace(" )", ")"),
        )
    except (OSError, InvalidHandshake) as error:
        verdict, reason = Verdict.FAIL, f"no connection: {error}"
    except BunkerError as error:
        verdict, reason = Verdict.FAIL, f"what came can't be read: {error}"
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        verdict, reason = (
            Verdict.FAIL,
            f"what came is of another form ({type(error).__name__}: {error})",
        )
    return Result(case, verdict, reason, time.monotonic() - began, trace.messages())


async def run(
    cases: Sequence[Case],
    make_kit: MakeKit,
    *,
    at_once: int = 8,
    again: MakeKit | None = None,
) -> AsyncIterator[Result]:
    """Yield the results as they are reached; those that run alone come last.

    With `again` a case that went wrong is judged once more by the kit that it makes, and that
    verdict counts: what goes wrong by chance, or by another case's doing, is not the target's.
    """
    limit = asyncio.Semaphore(at_once)

    async def one(case: Case) -> Result:
        async with limit:
            return await twice(case)

    async def twice(case: Case) -> Result:
        result = await judge(case, make_kit)
        return await judge(case, again) if again and result.convicts else result

    together = [asyncio.create_task(one(item)) for item in cases if not item.alone]
    try:
        for done in asyncio.as_completed(together):
            yield await done
        for item in cases:
            if item.alone:
                yield await twice(item)
    finally:
        for task in together:
            task.cancel()
        await asyncio.gather(*together, return_exceptions=True)


def in_order(results: Iterable[Result], cases: Sequence[Case]) -> tuple[Result, ...]:
    """Return the results in the order of their cases."""
    place = {item.id: index for index, item in enumerate(cases)}
    return tuple(sorted(results, key=lambda result: place[result.case.id]))
