"""Where sealed keys are kept: memory, or a directory whose files change atomically or not at all.

A storage is anything with the reference package's `get`, `put` and `delete`. `swap` is ours: it
writes only if the stored value is still the one that was read, so that two processes can't
overwrite each other's key. `FileStorage` opens the files of the reference package.
"""

import contextlib
import errno
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol, runtime_checkable
from urllib.parse import quote, unquote

from bunker_core.local.files import sync_folder, write_private
from bunker_core.local.locks import changing
from bunker_signer.nse.errors import NSEError, NSEErrorCode

MAX_BLOB_BYTES: Final = 64 * 1024  # ten slots of the largest kind take a fifth of it


class NSEStorage(Protocol):
    """The reference package's storage: text under a key such as `nse:blob`."""

    def get(self, key: str, /) -> str | None: ...
    def put(self, key: str, value: str, /) -> None: ...
    def delete(self, key: str, /) -> None: ...


@runtime_checkable
class SwapStorage(NSEStorage, Protocol):
    """A storage that can compare and write in one step, and tell what it holds."""

    def swap(self, key: str, old: str | None, new: str, /) -> bool:
        """Write `new` if the stored value is `old` (None: nothing); tell whether it was."""
        ...

    def keys(self) -> list[str]: ...


class MemoryStorage:
    """Sealed keys that end with the process."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}
        self._lock = threading.Lock()

    def get(self, key: str, /) -> str | None:
        return self._values.get(key)

    def put(self, key: str, value: str, /) -> None:
        self._values[key] = value

    def delete(self, key: str, /) -> None:
        self._values.pop(key, None)

    def swap(self, key: str, old: str | None, new: str, /) -> bool:
        with self._lock:
            if self._values.get(key) != old:
                return False
            self._values[key] = new
            return True

    def keys(self) -> list[str]:
        return sorted(self._values)


_Seen = tuple[int, int, int, int, int]
_SETTLED: Final = 100_000_000  # nanoseconds


def _seen(status: os.stat_result) -> _Seen:
    """Return what tells one state of a file from any other."""
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


class FileStorage:
    """A directory with one file a key, mode 0600, each replaced as a whole."""

    def __init__(self, directory: str | os.PathLike[str] = ".nse") -> None:
        """Use `directory`, made with mode 0700 when the first key is written; raises NSEError.

        Whoever only looks for a key makes nothing.
        """
        self._directory = Path(directory)
        with (
            _storage_errors("can't use the key directory", self._directory),
            contextlib.suppress(FileNotFoundError),
        ):
            if not stat.S_ISDIR(self._directory.stat().st_mode):
                raise NotADirectoryError(errno.ENOTDIR, "not a directory")
        self._paths: dict[str, Path] = {}
        self._names: dict[str, str] = {}  # the same as text, for what is asked at each use
        self._read: dict[str, tuple[_Seen, str]] = {}  # what was read last, and of which file

    def __repr__(self) -> str:
        return f"FileStorage({str(self._directory)!r})"

    def get(self, key: str, /) -> str | None:
        """Return what is stored, as it is now.

        A file that looks as it did when it was read is not opened: that is asked for at each use
        of a key, also by a process that has no descriptor left.
        """
        read = self._read.get(key)
        name = self._names.get(key)
        try:
            if read is not None and name is not None and _seen(os.lstat(name)) == read[0]:
                return read[1]
            path = self._path(key)
            self._names[key] = str(path)
            # No symlink is followed: it could point at a file of another owner.
            fd = os.open(str(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                status = os.fstat(fd)
                data = os.read(fd, MAX_BLOB_BYTES + 1)
            finally:
                os.close(fd)
        except FileNotFoundError:
            self._read.pop(key, None)
            return None
        except OSError as error:
            raise _failed("can't read the key file", self._path(key), error) from None
        if len(data) > MAX_BLOB_BYTES:
            raise NSEError(f"key file is too large: {path}", NSEErrorCode.STORAGE_ERROR)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise NSEError(f"key file is damaged: {path}", NSEErrorCode.STORAGE_ERROR) from None
        # One that was changed a moment ago could change again within a tick of the clock that
        # dates it.
        if time.time_ns() - status.st_ctime_ns > _SETTLED:
            self._read[key] = _seen(status), text
        return text

    def put(self, key: str, value: str, /) -> None:
        path = self._path(key)
        with _storage_errors("can't write the key file", path), self._locked():
            write_private(path, value.encode(), replace=True)

    def swap(self, key: str, old: str | None, new: str, /) -> bool:
        path = self._path(key)
        with _storage_errors("can't write the key file", path), self._locked():
            if self.get(key) != old:
                return False
            write_private(path, new.encode(), replace=True)
            return True

    def delete(self, key: str, /) -> None:
        path = self._path(key)
        with _storage_errors("can't remove the key file", path), self._locked():
            path.unlink(missing_ok=True)
            sync_folder(self._directory)

    def keys(self) -> list[str]:
        with _storage_errors("can't read the key directory", self._directory):
            if not self._directory.exists():
                return []
            names = [entry.name for entry in self._directory.iterdir()]
        return sorted(_key(name) for name in names if not name.startswith("."))

    def _path(self, key: str) -> Path:
        path = self._paths.get(key)
        if path is None:
            path = self._paths[key] = self._directory / _file_name(key)
        return path

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other threads and processes out of the directory's changes; make it at first."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with changing(self._directory):
            yield


def _file_name(key: str) -> str:
    """Return the reference package's file name (`nse:blob` is `nse_blob`), but one for each key.

    Characters that could collide with the replaced colon, or leave the directory, are escaped.
    """
    name = quote(key, safe=":").replace("_", "%5F").replace(":", "_")
    return name if not name.startswith(".") else "%2E" + name[1:]


def _key(file_name: str) -> str:
    return unquote(file_name.replace("_", ":"))


@contextlib.contextmanager
def _storage_errors(what: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _failed(what, path, error) from None
    except ValueError as error:  # a null byte in the directory's name
        raise NSEError(f"{what}: {error}", NSEErrorCode.STORAGE_ERROR) from None


def _failed(what: str, path: Path, error: OSError) -> NSEError:
    return NSEError(f"{what}: {path}: {error.strerror or error}", NSEErrorCode.STORAGE_ERROR)
