"""Confine a process: from then on it can compute, read and write what it holds, and nothing else.

For code that looks at a stranger's bytes with a decoder in C. Linux's seccomp takes everything from
it that reaches outside: files, network, processes, other processes' memory.
"""

import ctypes
import platform
import resource
import struct
import sys
from typing import Final

_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2

# linux/audit.h: which numbering of the system calls a process uses.
_AUDIT: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# read, write, close, fstat, lseek; mmap, mprotect, munmap, brk, mremap, madvise; futex,
# rt_sigaction, rt_sigprocmask, rt_sigreturn; clock_gettime, getrandom; exit, exit_group.
_CALLS: Final = {
    "x86_64": (0, 1, 3, 5, 8, 9, 10, 11, 12, 25, 28, 202, 13, 14, 15, 228, 318, 60, 231),
    "aarch64": (
        *(63, 64, 57, 80, 62, 222, 226, 215, 214, 216, 233, 98, 134, 135, 139, 113, 278, 93, 94),
    ),
}
_OTHER_NUMBERING: Final = 0x40000000  # x32's calls carry this bit; they must not pass as others

# linux/filter.h and linux/seccomp.h
_LOAD: Final = 0x20
_IF_EQUAL: Final = 0x15
_IF_AT_LEAST: Final = 0x35
_RETURN: Final = 0x06
_ALLOW: Final = 0x7FFF0000
_KILL: Final = 0x80000000
_REFUSE: Final = 0x00050000 | 1  # EPERM
_NUMBER, _ARCHITECTURE = 0, 4  # where seccomp_data holds them


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def can_confine() -> bool:
    """Tell whether this is a machine on which `confine` works."""
    return sys.platform == "linux" and platform.machine() in _CALLS


def confine(max_memory_bytes: int, max_seconds: int) -> None:
    """Confine this process for good. Opened files stay open. Raises OSError.

    `max_seconds` is time of the processor, after which it is killed.
    """
    limits = (
        (resource.RLIMIT_AS, max_memory_bytes),
        (resource.RLIMIT_CPU, max_seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),  # what it looks at can hold an app's secret
    )
    for limit, value in limits:
        resource.setrlimit(limit, (value, value))
    if not can_confine():
        raise OSError(f"no confinement on {platform.machine()}")
    libc = ctypes.CDLL(None, use_errno=True)
    program = _program(platform.machine())
    filter_ = _Program(len(program) // 8, program)
    refused = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(filter_), 0, 0
    )
    if refused:
        raise OSError(ctypes.get_errno(), "seccomp was refused")


def _program(machine: str) -> bytes:
    """Return the filter: allow the calls of the list, kill another numbering, refuse the rest."""
    calls = _CALLS[machine]
    code = [
        _instruction(_LOAD, _ARCHITECTURE),
        _instruction(_IF_EQUAL, _AUDIT[machine], 1, 0),
        _instruction(_RETURN, _KILL),
        _instruction(_LOAD, _NUMBER),
        _instruction(_IF_AT_LEAST, _OTHER_NUMBERING, len(calls), 0),
    ]
    for index, call in enumerate(calls):
        code.append(_instruction(_IF_EQUAL, call, len(calls) - index, 0))
    code += [_instruction(_RETURN, _REFUSE), _instruction(_RETURN, _ALLOW)]
    return b"".join(code)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
