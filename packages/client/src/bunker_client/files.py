"""Files that nobody else may read."""

import os
import tempfile
from pathlib import Path


def write_private(path: Path, content: bytes | bytearray, *, replace: bool) -> None:
    """Write a file of mode 0600 as a whole or not at all.

    Without `replace` a file that is there stays, and FileExistsError is raised. Raises OSError.
    """
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
        if replace:
            Path(temporary).replace(path)
        else:
            os.link(temporary, path)  # fails when there is one
            Path(temporary).unlink()
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
