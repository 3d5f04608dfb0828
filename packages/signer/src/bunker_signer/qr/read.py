"""Reading a QR code from a picture. Nothing here belongs into the process that holds the keys.

The library is native code and so are the decoders of image files; what they look at may be made by
anybody. `bunker signer pair` reads in the command's own process, the console in one that is given
up to it (`child.py`).
"""

import io
from pathlib import Path
from typing import BinaryIO, Final

from bunker_core.errors import BunkerError
from bunker_core.local.extras import how_to_install

FORMATS: Final = ("JPEG", "PNG", "WEBP")  # what cameras and screens save
MAX_PIXELS: Final = 64_000_000  # the largest that phones save has fifty million
MAX_DECODED: Final = 32_000_000  # pixels; a screenshot has eight million
_ENOUGH: Final = (1600, 1600)  # pixels in which a code is found as well as in more
_WANTED: Final = "nostrconnect:"


class UnreadablePicture(BunkerError):
    """It is no picture that can be read, or too large a one."""


def read_qr(path: Path) -> str:
    """Return the text of the QR code in an image file; raises BunkerError."""
    try:
        with path.open("rb") as file:
            found = read_photo(file)
    except ImportError:
        raise BunkerError(
            f"reading images is not installed: {how_to_install('nostr-bunker-signer', 'qr')}"
        ) from None
    except OSError as error:
        raise BunkerError(f"{path}: {error.strerror or 'unreadable'}") from None
    except UnreadablePicture as error:
        raise BunkerError(f"{path} is {error}") from None
    if not found:
        raise BunkerError(f"{path} shows no QR code")
    return found


def read_photo(file: BinaryIO | bytes) -> str:
    """Return the text of the QR code in an image file, or ""; raises UnreadablePicture."""
    from PIL import Image

    source = io.BytesIO(file) if isinstance(file, bytes) else file
    try:
        with Image.open(source, formats=FORMATS) as image:  # reads the head alone
            size = image.width * image.height
            image.draft("L", _ENOUGH)  # a JPEG is made smaller while it is decoded
            if size > MAX_PIXELS or image.width * image.height > MAX_DECODED:
                raise UnreadablePicture("too large an image")
            grey = image.convert("L")
    except (OSError, ValueError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
        raise UnreadablePicture(f"no image that can be read: {type(error).__name__}") from None
    return read_frame(grey.tobytes(), grey.width, grey.height)


def read_frame(pixels: bytes, width: int, height: int) -> str:
    """Return the text of the QR code in a picture of one byte (grey) a pixel, or "".

    Of several codes it is the one for us, else the first. Raises UnreadablePicture.
    """
    import zxingcpp

    if width < 1 or height < 1 or len(pixels) != width * height:
        raise UnreadablePicture("no picture of this size")
    view = memoryview(pixels).cast("B", (height, width))
    codes = zxingcpp.read_barcodes(
        view, formats=zxingcpp.BarcodeFormats([zxingcpp.BarcodeFormat.QRCode])
    )
    texts = [str(code.text) for code in codes]
    ours = [text for text in texts if text.lower().startswith(_WANTED)]
    return next(iter([*ours, *texts]), "")
