"""The page that plaintext keys live in, and what the process does so that nobody else reads it.

Three levels, the best that the kernel grants: `memfd_secret` (not even root reads it through
/proc or ptrace, and no kernel mapping of it exists), a page locked out of swap and of core dumps,
and ordinary memory with a warning.
"""

import ctypes
import mmap
import os
import resource
import sys
import warnings
from enum import Enum
from typing import Final

from bunker_core.keys import Buffer, wipe

PAGE_BYTES: Final = mmap.PAGESIZE

_LINUX: Final = sys.platform == "linux"
_SYS_MEMFD_SECRET: Final = 447  # the same number on every architecture that has it (Linux 5.14)
_FD_CLOEXEC_FLAG: Final = 0o2000000  # O_CLOEXEC, the only flag that memfd_secret(2) takes
_MADV_DONTFORK: Final = 10
_MADV_DONTDUMP: Final = 16
_MADV_WIPEONFORK: Final = 18
_PR_SET_DUMPABLE: Final = 4
_MAP_FAILED: Final = ctypes.c_void_p(-1).value

# Where the characters begin in CPython's objects: an empty one has its header and a final zero.
_CPYTHON: Final = sys.implementation.name == "cpython"
_BYTES_HEADER: Final = sys.getsizeof(b"") - 1
_ASCII_HEADER: Final = sys.getsizeof("") - 1
_WIDE_HEADER: Final = sys.getsizeof("\u0100\u0101") - 6  # two characters and a zero, 2 bytes each

# glibc's memmove takes up to eight registers of 32 or 64 bytes at once for these sizes.
_REGISTER_COPIES: Final = (32, 64, 128, 256, 512)
_REGISTERS_FROM: Final = (ctypes.c_ubyte * max(_REGISTER_COPIES))()
_REGISTERS_TO: Final = (ctypes.c_ubyte * max(_REGISTER_COPIES))()

# glibc keeps seven freed pieces of a size for a thread, and more behind them; 64 KiB for the rest.
_FREED_SIZES: Final = (65536, *range(2040, 8, -16))
_FREED_OF_EACH: Final = 12

# Calls that keep the interpreter's lock: thousands of short ones would wait for it each time.
_held: Final = ctypes.PyDLL(None)
_held.malloc.argtypes = [ctypes.c_size_t]
_held.malloc.restype = ctypes.c_void_p
_held.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
_held.memset.restype = ctypes.c_void_p
_held.free.argtypes = [ctypes.c_void_p]
_held.free.restype = None

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
for _name in ("munmap", "mlock"):
    getattr(_libc, _name).argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class MemoryLevel(Enum):
    """How well the page is protected, the best first."""

    MEMFD_SECRET = "memfd_secret"  # noqa: S105 -- a system call
    MLOCK = "mlock"
    PLAIN = "plain"


class Page:
    """One page of memory of our own, zeroed when it is closed and empty in a forked child.

    `view` is all of it. Not locked against threads: the owner has the lock. After `close`, or in
    a forked child, no slice of `view` may be touched: `alive` tells.
    """

    def __init__(self, best: MemoryLevel = MemoryLevel.MEMFD_SECRET) -> None:
        """Map the page at the best level that the kernel grants, `best` at most."""
        self._pid = os.getpid()
        self._address, self.level = _map(best)
        array = (ctypes.c_ubyte * PAGE_BYTES).from_address(self._address)
        self.view = memoryview(array).cast("B")
        if self.level is MemoryLevel.PLAIN:
            warnings.warn(
                "key memory can be swapped out: raise the limit on locked memory (ulimit -l)",
                RuntimeWarning,
                stacklevel=3,
            )

    @property
    def alive(self) -> bool:
        """Whether the page can be used: not closed, and not inherited by a fork."""
        return self._address != 0 and self._pid == os.getpid()

    def wipe(self) -> None:
        """Zero all of it."""
        if self.alive:
            wipe(self.view)

    def close(self) -> None:
        """Zero and unmap. A forked child leaves the mapping alone: it holds nothing there."""
        if self.alive:
            wipe(self.view)
            self.view.release()
            _libc.munmap(self._address, PAGE_BYTES)
        self._address = 0

    def __del__(self) -> None:
        if getattr(self, "_address", 0):
            self.close()


def harden_process() -> None:
    """Forbid core dumps of this process and reading its memory by others of the same user.

    For a process that exists to hold a key: a debugger can't attach to it any more either.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _LINUX and _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE) was refused")


def fill_random(buffer: memoryview | bytearray) -> None:
    """Fill `buffer` from the system's random source, without a copy elsewhere.

    `os.urandom` would return an immutable `bytes` that stays behind.
    """
    with open("/dev/urandom", "rb", buffering=0) as source:  # noqa: PTH123 -- readinto, unbuffered
        if source.readinto(buffer) != len(buffer):
            raise OSError("short read from /dev/urandom")


def clear_registers() -> None:
    """Overwrite the vector registers that a copy of up to 512 bytes of a secret went through.

    On a function's first call the dynamic linker saves all of them on the stack, where they stay;
    a thread that waits for the interpreter makes such a call. So: after each copy.
    """
    for size in _REGISTER_COPIES:
        ctypes.memmove(_REGISTERS_TO, _REGISTERS_FROM, size)


def copy_of(secret: Buffer) -> bytearray:
    """Return a copy that whoever asked wipes; of its own length: a resized one leaves others."""
    copy = bytearray(secret)
    clear_registers()
    return copy


def overwrite_freed() -> None:
    """Overwrite what this thread gave back to the C library's allocator, as far as it reuses it.

    For a library that frees copies of a secret without wiping them. Takes the pieces that were
    given back of each size up to 2 KiB, the largest first, and what follows them; a millisecond.
    """
    pieces = [(_held.malloc(size), size) for size in _FREED_SIZES for _ in range(_FREED_OF_EACH)]
    for address, size in pieces:
        if address:
            _held.memset(address, 0, size)
            _held.free(address)


def wipe_bytes(secret: bytes) -> None:
    """Overwrite a `bytes` that a library made for us and nobody else holds (CPython alone)."""
    if _CPYTHON and len(secret) > 1:  # shorter ones are shared by the whole process
        ctypes.memset(id(secret) + _BYTES_HEADER, 0, len(secret))


def wipe_str(secret: str) -> None:
    """Overwrite a `str` that was made here and nobody else holds (CPython alone)."""
    if not _CPYTHON or len(secret) < 2:
        return
    widest = ord(max(secret))
    width = 1 if widest < 0x100 else 2 if widest < 0x10000 else 4
    header = _ASCII_HEADER if widest < 0x80 else _WIDE_HEADER
    ctypes.memset(id(secret) + header, 0, width * len(secret))


def _map(best: MemoryLevel) -> tuple[int, MemoryLevel]:
    if best is MemoryLevel.MEMFD_SECRET and (address := _map_memfd_secret()):
        return address, MemoryLevel.MEMFD_SECRET
    address = _mmap(mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1)
    if not address:
        raise MemoryError("no memory for the key page")
    if _LINUX:
        _libc.madvise(address, PAGE_BYTES, _MADV_DONTDUMP)
        _libc.madvise(address, PAGE_BYTES, _MADV_WIPEONFORK)
    if best is not MemoryLevel.PLAIN and _libc.mlock(address, PAGE_BYTES) == 0:
        return address, MemoryLevel.MLOCK
    return address, MemoryLevel.PLAIN


def _map_memfd_secret() -> int:
    """Return the address of a memfd_secret page, or 0 when the kernel or a limit refuses."""
    if not _LINUX:
        return 0
    fd = _libc.syscall(_SYS_MEMFD_SECRET, _FD_CLOEXEC_FLAG)
    if fd < 0:
        return 0
    try:
        os.ftruncate(fd, PAGE_BYTES)
        address = _mmap(mmap.MAP_SHARED, fd)
    except OSError:
        return 0
    finally:
        os.close(fd)  # the mapping stays; without a descriptor no child can map it again
    # The mapping is shared, so a forked child would see the key: it gets no mapping instead.
    if address and _libc.madvise(address, PAGE_BYTES, _MADV_DONTFORK) != 0:
        _libc.munmap(address, PAGE_BYTES)
        return 0
    return address


def _mmap(flags: int, fd: int) -> int:
    address = _libc.mmap(None, PAGE_BYTES, mmap.PROT_READ | mmap.PROT_WRITE, flags, fd, 0)
    return 0 if address == _MAP_FAILED else int(address)
