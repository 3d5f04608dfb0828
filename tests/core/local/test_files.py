"""Private files: whole or not at all, and nobody else's to read."""

import errno
import os
from pathlib import Path

import pytest

from bunker_core.local.files import write_private


@pytest.mark.parametrize("replace", [True, False])
def test_it_is_private_whatever_the_umask(tmp_path: Path, replace: bool) -> None:
    """No moment with another mode: the file is made with 0600, and an open umask opens nothing."""
    before = os.umask(0)
    try:
        write_private(tmp_path / "key", b"secret", replace=replace)
    finally:
        os.umask(before)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "key").read_bytes() == b"secret"
    assert [item.name for item in tmp_path.iterdir()] == ["key"]


def test_an_open_file_is_replaced_by_a_private_one(tmp_path: Path) -> None:
    """What somebody made readable before us is not written into."""
    path = tmp_path / "key"
    path.write_text("old")
    path.chmod(0o666)
    write_private(path, bytearray(b"new"), replace=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == "new"


@pytest.mark.parametrize("links", [True, False])
def test_what_is_there_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    """Without `replace` no key is written over, with hard links or (Android) without."""
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", _no_links)
    path = tmp_path / "key"
    write_private(path, b"first", replace=False)
    with pytest.raises(FileExistsError):
        write_private(path, b"second", replace=False)
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        write_private(path, b"third", replace=False)
    assert [item.name for item in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_failure_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A full disk costs the new content and neither the old one nor a file that lies about."""
    path = tmp_path / "key"
    write_private(path, b"old", replace=True)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, full)
        with pytest.raises(OSError, match="no space"):
            write_private(path, b"new", replace=True)
    assert [item.name for item in tmp_path.iterdir()] == ["key"]
    assert path.read_bytes() == b"old"


def test_file_and_folder_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content before its name, the name before the return: a power cut loses neither."""
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(handle: int) -> None:
        done.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    def noted_replace(self: Path, target: Path) -> Path:
        done.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    write_private(tmp_path / "key", b"content", replace=True)
    assert done[0].startswith(f"{tmp_path}/.key.")
    assert done[1:] == ["rename", str(tmp_path)]


def test_a_short_write_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel may take less than it is given."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:3])))
    write_private(tmp_path / "key", b"0123456789", replace=True)
    assert (tmp_path / "key").read_bytes() == b"0123456789"


def _no_links(self: Path, target: Path) -> None:
    raise PermissionError(errno.EACCES, "no hard links here")
