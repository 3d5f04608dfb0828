"""A code is found in a picture; what is no picture is one documented error."""

import io
import itertools

import pytest
import segno
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bunker_signer.qr.read import UnreadablePicture, read_frame, read_photo

URI = f"nostrconnect://{'a' * 64}?relay=wss%3A%2F%2Frelay.example&secret=0123456789abcdef"


def code(text: str) -> Image.Image:
    target = io.BytesIO()
    segno.make(text, error="m").save(target, kind="png", scale=4, border=4)
    return Image.open(target).convert("L")


def saved(image: Image.Image, kind: str = "PNG") -> bytes:
    target = io.BytesIO()
    image.save(target, kind)
    return target.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_a_code_in_a_photo(kind: str, mode: str) -> None:
    """What cameras and screens save is read."""
    image = code(URI).convert("L" if mode == "P" and kind != "PNG" else mode)
    assert read_photo(saved(image, kind)) == URI


def test_the_apps_code_among_others() -> None:
    """Of two codes in one picture it is the one for us."""
    scene = Image.new("L", (900, 420), 255)
    for place, text in zip((0, 450), ("https://example.org", URI), strict=True):
        scene.paste(code(text).resize((400, 400)), (place, 10))
    assert read_frame(scene.tobytes(), *scene.size) == URI


def test_a_picture_that_unfolds() -> None:
    """A few bytes that stand for many are refused by their head, before they are decoded."""
    with pytest.raises(UnreadablePicture, match="too large"):
        read_photo(saved(Image.new("1", (9000, 9000))))


def test_a_large_photo_is_made_smaller() -> None:
    """A phone's JPEG of fifty million pixels is read all the same."""
    scene = Image.new("L", (8160, 6120), 255)
    scene.paste(code(URI).resize((3000, 3000)), (2000, 1500))
    assert read_photo(saved(scene, "JPEG")) == URI


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM", "ICO", "PDF"])
def test_other_formats_are_not_even_tried(kind: str) -> None:
    """Each format more is a decoder more for a stranger's bytes."""
    with pytest.raises(UnreadablePicture):
        read_photo(saved(Image.new("L", (40, 40)), kind))


def test_a_cut_photo() -> None:
    """Whatever is missing of a file, the error is the same."""
    whole = saved(code(URI), "JPEG")
    for length in itertools.chain(range(0, 700, 53), (len(whole) // 2,)):
        with pytest.raises(UnreadablePicture):
            read_photo(whole[:length])


@given(st.binary(max_size=200), st.integers(-2, 20), st.integers(-2, 20))
def test_a_frame_of_any_size(pixels: bytes, width: int, height: int) -> None:
    """A frame is either as many bytes as it says, or no frame."""
    if width > 0 and height > 0 and width * height == len(pixels):
        assert read_frame(pixels, width, height) == ""
    else:
        with pytest.raises(UnreadablePicture):
            read_frame(pixels, width, height)
