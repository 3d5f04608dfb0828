"""What macOS has not is not needed: the commands run with those names taken away.

`darwin/sitecustomize.py` says what is taken away and what only a Mac could show.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

DARWIN = Path(__file__).with_name("darwin")
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if "BUNKER" not in name},
    "PYTHONPATH": str(DARWIN),
}
EVENT = b'{"kind": 1, "content": "from a Mac", "tags": [], "created_at": 1700000000}'


def bunker(*arguments: str, stdin: bytes = b"") -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bunker", *arguments],
        env=ENVIRONMENT,
        input=stdin,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@contextmanager
def up(data: Path) -> Iterator[str]:
    """Run `bunker up`; yield a URI of it."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "bunker", "up", "--data", str(data), "--port", "0"),
            *("--yes", "--pair", "--no-qr", "--profile", "full"),
        ],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    try:
        yield next(line.strip() for line in process.stdout if line.startswith("bunker://"))
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_the_names_are_gone() -> None:
    """The run below would not notice if nothing had been taken away."""
    code = (
        "import ctypes, os, socket, sys\n"
        "assert sys.platform == 'darwin' and not hasattr(os, 'O_PATH')\n"
        "assert not hasattr(socket, 'SO_PEERCRED') and not os.path.exists('/proc/self/fd')\n"
        "assert not hasattr(ctypes.CDLL(None), 'prctl')\n"
        "one, two = socket.socketpair(socket.AF_UNIX)\n"
        "from bunker_core.local.sockets import peer_uid\n"
        "assert peer_uid(one) == os.geteuid()\n"
    )
    subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=True)


def test_demo() -> None:
    """A remote signature from end to end."""
    assert "has its signature and never had the key" in bunker("demo")


@pytest.mark.parametrize("depth", [0, 4])
def test_sign_lock_panic(tmp_path: Path, depth: int) -> None:
    """The owner's commands reach the signer, also where its socket has a long path."""
    data = tmp_path.joinpath(*["a-long-name-of-a-folder"] * depth)
    signer = ("--data", str(data / "signer"))
    with up(data) as uri:
        assert "from a Mac" in bunker("sign", "--uri", uri, stdin=EVENT)
        assert "unlocked" in bunker("signer", "status", *signer)
        bunker("signer", "lock", *signer)
        assert '"state":"locked"' in bunker("signer", "status", "--json", *signer).replace(" ", "")
        bunker("signer", "unlock", *signer)
        bunker("panic", *signer)
        assert bunker("signer", "clients", *signer).count("sign_event") == 0
        assert "running" in bunker("status", "--data", str(data))
