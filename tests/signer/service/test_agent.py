"""The running signer itself: what becomes of a request when it stops."""

import asyncio
import gc
import warnings
from pathlib import Path

import pytest

from bunker_core.event import VerifiedEvent
from bunker_signer.request.course import Remaining
from signer.request.support.rig import rig
from signer.request.wire._wire import NOTE


@pytest.mark.parametrize("method", ["sign_event", "ping"])
async def test_what_is_decided_after_the_stop_is_let_go(
    relay_url: str, data: Path, method: str
) -> None:
    """Nobody goes on with it: the journal has it. Nothing that was begun is left behind."""
    async with rig(relay_url, data) as signer, signer.client() as client:
        agent, let_go = signer.agent, asyncio.Event()
        see_to = agent._see_to

        def stop_first(event: VerifiedEvent, rest: Remaining) -> None:
            agent._closed = True
            see_to(event, rest)
            asyncio.get_running_loop().call_soon(let_go.set)

        agent._see_to = stop_first  # type: ignore[method-assign]
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            await client.send(method, NOTE)
            async with asyncio.timeout(10):
                await let_go.wait()
            gc.collect()
        assert [item.message for item in told if item.category is RuntimeWarning] == []
