"""Files and folders that nobody else may read."""

import errno
import os
from pathlib import Path
from typing import Final

# What a file system, or Android, answers that has no hard links.
_NO_LINKS: Final = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def write_private(path: Path, content: bytes | bytearray | memoryview, *, replace: bool) -> None:
    """Write a file of mode 0600 as a whole or not at all, and on the disk when this returns.

    Without `replace` a file that is there stays, and FileExistsError is raised. `content` goes
    from its own buffer to the kernel, so a key in it has no copy here. Raises OSError.
    """
    new = path.with_name(f".{path.name}.{os.urandom(6).hex()}.new")
    try:
        _write(new, content)
        if replace:
            new.replace(path)
        else:
            _place(new, path)
    finally:
        new.unlink(missing_ok=True)
    sync_folder(path.parent)


def private_folder(path: Path) -> None:
    """Make a folder that nobody else may enter, or close one that is open; raises OSError.

    What lies in it may be open itself: nobody comes through to it.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.stat().st_mode & 0o077:
        path.chmod(0o700)  # fails on somebody else's folder, which is no place for secrets


def sync_folder(path: Path) -> None:
    """Put on the disk what was made, renamed or removed in a folder; raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(path: Path, content: bytes | bytearray | memoryview) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(path, flags, 0o600)
    try:
        left = memoryview(content).cast("B")
        while left:
            left = left[os.write(handle, left) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def _place(new: Path, path: Path) -> None:
    """Give `new` the name `path`, unless there is one of this name."""
    try:
        path.hardlink_to(new)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # Taken first, so that a file of somebody else is never replaced.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        new.replace(path)
