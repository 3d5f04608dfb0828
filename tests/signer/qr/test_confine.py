"""A confined process can do nothing but compute on what it holds."""

import subprocess
import sys

import pytest

from bunker_signer.qr.confine import can_confine
from support.require import need

# What a decoder that was taken over would try; each is refused, or ends the process.
TRIES = {
    "open a file": "open('/etc/hostname')",
    "list a directory": "os.listdir('/')",
    "make a file": "os.open('x', os.O_CREAT)",
    "open a socket": "socket.socket()",
    "make a pipe": "os.pipe()",
    "start a process": "os.fork()",
    "become another program": "os.execv('/bin/true', ['true'])",
    "end another process": "os.kill(os.getppid(), 0)",
    "look into another process": "fails(libc.ptrace(16, os.getppid(), 0, 0))",
    "read another's memory": "fails(libc.process_vm_readv(os.getppid(), 0, 0, 0, 0, 0))",
    "call under another number": "fails(libc.syscall(0x40000000 | 39))",
    "map a device": "fails(libc.memfd_create(b'x', 0))",
}
PROGRAM = """
import ctypes, os, socket
from bunker_signer.qr.confine import confine
libc = ctypes.CDLL(None, use_errno=True)
def fails(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")
confine(256 * 1024 * 1024, 1)
try:
    {tried}
except PermissionError:
    os.write(1, b"refused")
os._exit(0)
"""


def confined(tried: str) -> subprocess.CompletedProcess[bytes]:
    need(can_confine(), "Linux on x86_64 or aarch64")
    command = [sys.executable, "-I", "-c", PROGRAM.format(tried=tried)]
    return subprocess.run(command, capture_output=True, check=False)


@pytest.mark.parametrize("tried", TRIES.values(), ids=TRIES.keys())
def test_nothing_outside_is_reached(tried: str) -> None:
    """The kernel refuses each way out of the process."""
    assert confined(tried).stdout == b"refused"


def test_memory_has_an_end() -> None:
    """Who wants more memory than was agreed gets an error and not the machine's."""
    assert b"MemoryError" in confined("bytearray(300 * 1024 * 1024)").stderr


def test_time_has_an_end() -> None:
    """An endless loop is ended by the kernel."""
    assert confined("while True: pass").returncode < 0
