"""The process that looks at a picture has loaded all it needs before it is confined."""

import io
import subprocess
import sys

import pytest
import segno
from PIL import Image

TEXT = f"nostrconnect://{'a' * 64}?relay=wss%3A%2F%2Frelay.example&secret=0123456789abcdef"

# The child as it is, but that its confinement only notes what is loaded; then the modules that
# came later go to standard error.
WATCHED = """
import sys
from bunker_signer.qr import child
loaded = set()
child.confine = lambda *limits: loaded.update(sys.modules)
code = child.main(sys.argv[1:])
print(*sorted(set(sys.modules) - loaded), file=sys.stderr)
sys.exit(code)
"""


def watched(picture: bytes, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-c", WATCHED, *arguments],
        input=picture,
        capture_output=True,
        timeout=60,
        check=False,
    )


def code() -> Image.Image:
    target = io.BytesIO()
    segno.make(TEXT, error="m").save(target, kind="png", scale=4, border=4)
    return Image.open(target).convert("L")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_photo_loads_no_module_once_it_is_confined(kind: str) -> None:
    """In a single executable a later import reads the executable, which is refused."""
    target = io.BytesIO()
    code().save(target, kind)
    done = watched(target.getvalue(), "photo")
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (0, TEXT, "\n")


def test_frame_loads_no_module_once_it_is_confined() -> None:
    image = code()
    done = watched(image.tobytes(), "frame", *map(str, image.size))
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (0, TEXT, "\n")
