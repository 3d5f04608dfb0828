"""Reading a QR code from an image file, in the process of the command and not of the keys."""

from pathlib import Path

from bunker_core.errors import BunkerError

_MAX_PIXELS = 50_000_000  # a screenshot has eight million


def read_qr(path: Path) -> str:
    """Return the text of the QR code in an image; raises BunkerError."""
    try:
        import zxingcpp
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise BunkerError(
            "reading images is not installed: pip install 'nostr-bunker-signer[qr]'"
        ) from None
    try:
        with Image.open(path) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise BunkerError(f"{path} is too large an image")
            found = zxingcpp.read_barcodes(image.convert("L"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise BunkerError(f"{path} is no image that can be read: {type(error).__name__}") from None
    if not found:
        raise BunkerError(f"{path} shows no QR code")
    return str(found[0].text)
