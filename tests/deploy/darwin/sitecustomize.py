"""Linux without what macOS has not: each Python with this folder on its path imports it.

Taken away: os.O_PATH, os.memfd_create, os.pidfd_open, SO_PEERCRED, AF_UNIX's SOCK_SEQPACKET, /proc,
prctl and raw system calls. LOCAL_PEERCRED answers as unix(4) says it does. What is real on a Mac
and is not here: its own libc, its sandbox, its signals' finer points.
"""

import builtins
import ctypes
import io
import os
import socket
import struct
import sys
import sysconfig
import types
from typing import Any

sysconfig.get_config_vars()  # of the real platform, while it can be told
sys.platform = "darwin"
_proxies: Any = types.ModuleType("_scproxy")  # a C module of macOS' Python: no proxy is set
_proxies._get_proxies = _proxies._get_proxy_settings = dict
sys.modules["_scproxy"] = _proxies
for module, names in (
    (os, ("O_PATH", "memfd_create", "pidfd_open", "sched_getaffinity", "sched_setaffinity")),
    (socket, ("SO_PEERCRED", "SOCK_SEQPACKET", "SO_PASSCRED")),
):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
if hasattr(os, "process_cpu_count"):  # Python 3.13; without affinity it is the other one
    os.process_cpu_count = os.cpu_count

_PEERCRED = 17  # Linux' own, which the library must not use
_real_getsockopt = socket.socket.getsockopt


def _getsockopt(self: socket.socket, level: int, option: int, *rest: int) -> Any:
    if (level, option) == (0, 1):
        _, uid, gid = struct.unpack("3i", _real_getsockopt(self, socket.SOL_SOCKET, _PEERCRED, 12))
        return struct.pack("=IIh2x16I", 0, uid, 1, gid, *[0] * 15)
    if option == _PEERCRED:
        raise OSError(42, "Protocol not available")
    return _real_getsockopt(self, level, option, *rest)


socket.socket.getsockopt = _getsockopt  # type: ignore[method-assign,assignment]


def _without_proc(function: Any) -> Any:
    def called(path: Any, *arguments: Any, **named: Any) -> Any:
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith("/proc"):
            raise FileNotFoundError(2, "No such file or directory", os.fspath(path))
        return function(path, *arguments, **named)

    return called


for owner, name in ((builtins, "open"), (io, "open"), (os, "open"), (os, "stat"), (os, "readlink")):
    setattr(owner, name, _without_proc(getattr(owner, name)))

_real_getattr = ctypes.CDLL.__getattr__


def _no_linux_calls(self: ctypes.CDLL, name: str) -> Any:
    if name in {"prctl", "syscall", "memfd_create"}:
        raise AttributeError(name)
    return _real_getattr(self, name)


ctypes.CDLL.__getattr__ = _no_linux_calls  # type: ignore[method-assign]
