"""QR codes as SVG in the page: no image is loaded, and none is kept."""

import io

import segno
from markupsafe import Markup


def qr_svg(text: str) -> Markup:
    """Return the code for `text`, black on white in either colour scheme: scanners want that."""
    target = io.BytesIO()
    segno.make(text, error="m").save(
        target,
        kind="svg",
        border=4,
        xmldecl=False,
        svgns=True,
        omitsize=True,
        svgclass="qr",
        lineclass=None,
        dark="#000",
        light="#fff",
    )
    # segno's own drawing, into which the text goes only as black and white squares
    return Markup(target.getvalue().decode())  # noqa: S704
