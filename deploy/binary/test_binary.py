"""The single executable, which starts itself; `make binary` builds it and runs these."""

import io
import os
import subprocess
from pathlib import Path

import segno

BINARY = Path(__file__).parents[2] / "dist" / "bunker"
TEXT = f"nostrconnect://{'a' * 64}?relay=wss%3A%2F%2Frelay.example&secret=0123456789abcdef"


def run(
    *arguments: str, given: bytes = b"", **environment: str
) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(  # noqa: S603 -- what was built here
        [str(BINARY), *arguments],
        input=given,
        capture_output=True,
        env={"PATH": os.environ["PATH"], **environment},
        timeout=120,
        check=False,
    )


def test_confined_reader_reads_a_picture() -> None:
    """Confined, it can't open the executable: nothing of it may be missing by then."""
    picture = io.BytesIO()
    segno.make(TEXT, error="m").save(picture, kind="png", scale=4, border=4)
    done = run("-m", "bunker_signer.qr.child", "photo", given=picture.getvalue())
    assert (done.returncode, done.stdout.decode()) == (0, TEXT)


def test_demo_ends_with_a_signature(tmp_path: Path) -> None:
    """Relay and signer are the executable again; nothing stays unpacked."""
    done = run("demo", HOME=str(tmp_path), TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr.decode()
    assert b"got the signature" in done.stdout
    assert list(tmp_path.glob("_MEI*")) == []


def test_it_is_no_python_for_whoever_finds_it() -> None:
    """`-m` takes the modules that it starts itself, no other."""
    done = run("-m", "http.server")
    assert done.returncode == 2
    assert b"No such option" in done.stderr or b"no such option" in done.stderr.lower()
