"""A body is read whole, or refused with the HTTP status that says why."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bunker_core.local.body import BodyRefused, read_body


async def _chunks(*pieces: bytes, then_wait: bool = False) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    if then_wait:
        await asyncio.Event().wait()


async def test_a_body_up_to_the_bound_is_whole() -> None:
    """The bound itself still fits."""
    assert await read_body(_chunks(b"ab", b"", b"cd"), 4, 1) == b"abcd"


async def test_a_larger_body_is_refused_before_its_end() -> None:
    """What would come after the bound is not waited for."""
    with pytest.raises(BodyRefused, match="too large") as refused:
        await read_body(_chunks(b"abc", b"de", then_wait=True), 4, 60)
    assert refused.value.status == 413


async def test_a_body_that_never_ends_is_refused_in_time() -> None:
    """A deadline for all of it, however the bytes trickle."""
    with pytest.raises(BodyRefused, match="in time") as refused:
        await read_body(_chunks(b"a", then_wait=True), 4, 0.01)
    assert refused.value.status == 408
