"""Where pictures of pages go: all to be looked at, some into the documents."""

from collections.abc import Mapping
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[3]
TARGET = ROOT / "build" / "screenshots"
SHOWN = ROOT / "docs" / "screenshots"


def keep(pictures: Mapping[str, str]) -> None:
    """Copy pictures of TARGET to SHOWN, in 256 colours; the values are their names there."""
    SHOWN.mkdir(parents=True, exist_ok=True)
    for name, kept in pictures.items():
        with Image.open(TARGET / f"{name}.png") as picture:
            picture.convert("RGB").quantize(256).save(SHOWN / f"{kept}.png", optimize=True)
