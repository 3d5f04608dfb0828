"""`python -m bunker_signer.qr.child photo | frame WIDTH HEIGHT`: a picture in, its code's text out.

A process for one picture: it is confined before it reads the first byte of it.
"""

import os
import sys
from typing import Final

from bunker_signer.qr.confine import confine
from bunker_signer.qr.read import UnreadablePicture, read_frame, read_photo

MAX_MEMORY: Final = 512 * 1024 * 1024  # bytes of addresses; the libraries take a third of it
MAX_SECONDS: Final = 4
UNREADABLE: Final = 3  # exit code


def main(arguments: list[str]) -> int:
    """Return the exit code."""
    photo = arguments == ["photo"]
    # All that is ever loaded has to be loaded now: no file can be opened later.
    import zxingcpp  # noqa: F401

    if photo:
        from PIL import Image, WebPImagePlugin  # noqa: F401

        # With these come formats that are never tried. Left for later, their import would fail in a
        # single executable as an unreadable file does, and every picture with it.
        Image.preinit()
    confine(MAX_MEMORY, MAX_SECONDS)
    data = sys.stdin.buffer.read()
    try:
        text = read_photo(data) if photo else read_frame(data, *map(int, arguments[1:]))
    except UnreadablePicture:
        return UNREADABLE
    sys.stdout.buffer.write(text.encode(errors="replace"))
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    os._exit(code)  # the interpreter's own end would open and stat
