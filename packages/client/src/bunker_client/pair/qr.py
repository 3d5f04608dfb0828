"""A URI as a QR code: for a terminal, a web page or a file."""

import io
from typing import Final

import segno

_SCALE: Final = 4  # pixels a module; a phone reads it from arm's length
# The least redundancy: a screen has no scratches, and fewer modules read better.
_LEVEL: Final = "l"


class QR:
    """The QR code of `text`."""

    def __init__(self, text: str) -> None:
        self.text: Final = text
        self._code = segno.make(text, error=_LEVEL, micro=False)

    def __repr__(self) -> str:  # the text has a secret
        return "QR()"

    def terminal(self) -> str:
        """Return it as lines of text with block characters and colours."""
        out = io.StringIO()
        self._code.terminal(out=out, compact=True)
        return out.getvalue()

    def svg(self) -> str:
        """Return it as an SVG document."""
        out = io.BytesIO()
        self._code.save(out, kind="svg", scale=_SCALE)
        return out.getvalue().decode()

    def png(self) -> bytes:
        """Return it as a PNG picture."""
        out = io.BytesIO()
        self._code.save(out, kind="png", scale=_SCALE)
        return out.getvalue()
