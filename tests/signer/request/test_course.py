"""course.py: what is told by a callback is awaited, once, whoever still waits."""

import asyncio

import pytest

from bunker_signer.request.course import Rest, Then, awaited, raising
from bunker_signer.request.reply import Reply


@pytest.mark.parametrize("later", [False, True])
async def test_an_answer_is_returned_whenever_it_is_told(later: bool) -> None:
    """At once, or when the loop has gone on; what is told after it is not heard."""

    def start(then: Then, rest: Rest) -> None:
        if later:
            asyncio.get_running_loop().call_soon(then, None)
        else:
            then(None)
        asyncio.get_running_loop().call_soon(then, None)

    async with asyncio.timeout(10):
        assert await awaited(start) is None


async def test_what_is_left_to_do_is_done() -> None:
    """Once; its result is the answer, and its error is raised where the answer is awaited."""
    done = []

    async def remaining() -> Reply | None:
        done.append(True)
        return None

    assert await awaited(lambda _, rest: rest(remaining)) is None
    assert done == [True]
    with pytest.raises(KeyError):
        await awaited(lambda _, rest: rest(raising(KeyError("x"))))


async def test_what_is_left_is_let_go_of_when_nobody_waits_any_more() -> None:
    """Who waited was cancelled: telling them is no error, and nothing is done."""
    told: list[Rest] = []
    waiting = asyncio.create_task(awaited(lambda _, rest: told.append(rest)))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    done = []

    async def remaining() -> Reply | None:
        done.append(True)
        return None

    told[0](remaining)
    await asyncio.sleep(0)
    assert done == []
