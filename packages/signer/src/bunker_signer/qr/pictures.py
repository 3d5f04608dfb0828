"""A picture from a device's camera is looked at for a code: one at a time, by a process of its own.

The signer itself decodes nothing: the process sees this one picture, and is confined before it
does (`child.py`). What it answers is a stranger's text, as if somebody had typed it.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Final

from bunker_core.errors import BunkerError
from bunker_core.local.process import bare_environment, module_command
from bunker_core.nips.bunker_uri import MAX_URI
from bunker_signer.qr.child import UNREADABLE
from bunker_signer.qr.confine import can_confine

MAX_PHOTO: Final = 16 * 1024 * 1024  # bytes of an image file
MAX_SIDE: Final = 640  # pixels of a frame, each of one byte
FRAME_EVERY: Final = 0.1  # seconds between two frames, of all devices together
TIMEOUT: Final = 10.0  # seconds; what takes longer is no picture of a code
MAX_UPLOADS: Final = 2  # photos that are in memory at a time
UPLOAD_TIMEOUT: Final = 60.0  # seconds


class Busy(BunkerError):
    """Another picture is being looked at, or the last one was only just."""


class NoPicture(BunkerError):
    """It can't be read as a picture, or not in time."""


class Pictures:
    """Reads codes from pictures. Holds none of them."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._one = asyncio.Lock()
        self._next_frame = 0.0
        self._uploads = 0

    @property
    def readable(self) -> bool:
        """Whether the libraries are installed, and the machine can confine what they do."""
        return can_confine() and find_spec("zxingcpp") is not None and find_spec("PIL") is not None

    @asynccontextmanager
    async def upload(self) -> AsyncIterator[None]:
        """Hold room for a photo that comes in; raises Busy, and NoPicture if it takes too long."""
        if self._uploads >= MAX_UPLOADS:
            raise Busy("other photos are coming in")
        self._uploads += 1
        try:
            async with asyncio.timeout(UPLOAD_TIMEOUT):
                yield
        except TimeoutError:
            raise NoPicture("not sent in time") from None
        finally:
            self._uploads -= 1

    async def photo(self, data: bytes) -> str:
        """Return the text of the code in an image file, or ""; raises NoPicture."""
        async with self._one:
            return await _look(data, "photo")

    async def frame(self, pixels: bytes, width: int, height: int) -> str:
        """Return the text of the code in a grey picture, or ""; raises Busy and NoPicture.

        A camera has another frame in a moment: none of them waits for its turn.
        """
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE) or len(pixels) != width * height:
            raise NoPicture("not a frame of this size")
        if self._one.locked() or self._monotonic() < self._next_frame:
            raise Busy("another picture is being looked at")
        async with self._one:
            try:
                return await _look(pixels, "frame", str(width), str(height))
            finally:
                self._next_frame = self._monotonic() + FRAME_EVERY


async def _look(picture: bytes, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *module_command("bunker_signer.qr.child", *arguments, isolated=True),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=bare_environment(),  # the signer's may name files and addresses
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(TIMEOUT):
            process.stdin.write(picture)
            process.stdin.close()
            # Not communicate(): a decoder that was taken over could write for ever.
            try:
                text = await process.stdout.readexactly(MAX_URI + 1)
            except asyncio.IncompleteReadError as whole:
                text = whole.partial
            else:
                raise NoPicture("not a code")
            code = await process.wait()
    except TimeoutError:
        raise NoPicture("not read in time") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if code != 0:
        raise NoPicture("no picture" if code == UNREADABLE else f"the reader ended with {code}")
    return text.decode(errors="replace")
