"""Locks between the processes of this machine; the kernel lets go of those of a process that ends.

On flock(2): of one descriptor and its copies, whatever else a process opens and closes.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def hold(path: Path) -> int:
    """Lock a file until the returned descriptor is closed; it is made, with mode 0600, if need be.

    What is in it, and its times, stay as they are. Raises BlockingIOError while another holds it,
    OSError.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Keep other threads and processes from changing a folder, until the block ends.

    All of them have to ask here; one waits for the other. Raises OSError.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # and with it the lock
