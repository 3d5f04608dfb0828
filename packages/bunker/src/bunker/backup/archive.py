"""An installation in one file, without what opens it.

In the file: sealed keys, grants, audit log, the relay's events and lists. Not in it: the master
key. A backup that opens itself would be the weakest place of all.
"""

import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final

from bunker import __version__
from bunker.backup.seal import check, seal
from bunker.installation import Installation
from bunker_core.errors import BunkerError
from bunker_core.local.files import private_folder, sync_folder

FORMAT: Final = 1
UNCONFIRMED: Final = "unconfirmed"  # in the signer's directory, and in the relay's
LAST_BACKUP: Final = "last-backup"  # in the signer's directory, which its user may write to
_MANIFEST: Final = "manifest.json"
_MAX_FILE: Final = 64 * 2**30  # bytes; what a damaged header could claim is bounded
# What belongs into a backup, and what a restore takes: nothing else is ever written.
_KEPT: Final = re.compile(
    r"relay/(relay\.sqlite3|lists\.json)|signer/(\w+\.sqlite3|keys/[\w.=-]+)", re.ASCII
)
# What of it says who may do what.
_RIGHTS: Final = re.compile(r"relay/lists\.json|signer/\w+\.sqlite3", re.ASCII)
_MANIFEST_BYTES: Final = 1_000_000


class BackupFailed(BunkerError):
    """The backup can't be made or restored; the text says why."""


def make_backup(
    installation: Installation, file: Path, now: int, master_key_file: Path | None = None
) -> dict[str, Any]:
    """Write the installation to `file`, also while it runs; return the manifest.

    With the master key, the manifest is authenticated: `restore` then believes what the backup
    says of apps and devices. Raises BackupFailed and NSEError; an existing file is left as it is.
    """
    if not installation.has_keys:
        raise BackupFailed(f"there is no installation in {installation.data}")
    try:
        with tempfile.TemporaryDirectory(prefix="bunker-backup-") as name:
            copies = _copy(installation.data, Path(name))
            manifest = {
                "format": FORMAT,
                "version": __version__,
                "created_at": now,
                "npub": installation.npub(),
                "files": {inside: _digest(path) for inside, path in copies.items()},
            }
            if master_key_file is not None:
                manifest["mac"] = seal(manifest, master_key_file)
            _write(file, manifest, copies, now)
        (installation.signer / LAST_BACKUP).write_text(f"{now}\n")
    except FileExistsError:
        raise BackupFailed(f"{file} is there already; name another file") from None
    except (OSError, sqlite3.Error) as error:
        raise BackupFailed(f"{file}: {error}") from None
    return manifest


def restore_backup(
    file: Path, installation: Installation, master_key_file: Path | None = None
) -> tuple[dict[str, Any], bool]:
    """Write what is in `file` into an empty place; return the manifest, and whether it is ours.

    It is ours when the master key says so. Whoever can write to a backup could else pair an app
    with rights of their choice, bind a device, or let anybody publish on the relay: without that
    proof the signer's databases and the relay's lists are laid aside in `unconfirmed` until their
    owner has seen what is in them. Everything is checked before anything is put in place. Raises
    BackupFailed and NSEError.
    """
    try:
        with ExitStack() as stack:
            archive = stack.enter_context(tarfile.open(file, mode="r:gz"))
            manifest = _read_manifest(archive)
            ours = master_key_file is not None and "mac" in manifest
            if master_key_file is not None and ours and not check(manifest, master_key_file):
                raise BackupFailed(
                    "it was changed since, or made under another master key; nothing was restored"
                )
            private_folder(installation.data)
            # Beside their place: that is where the space is, and it may be a mount of its own.
            staged = {
                part: _stage(installation.data / part, stack)
                for part in sorted({name.partition("/")[0] for name in manifest["files"]})
            }
            _extract(archive, manifest, staged)
            for part, stage in staged.items():
                for found in stage.iterdir():
                    found.rename(_place(installation.data / part, found.name, ours))
    except (OSError, tarfile.TarError, EOFError) as error:
        raise BackupFailed(f"{file}: {error}") from None
    return manifest, ours


def unconfirmed(installation: Installation) -> list[tuple[Path, Path]]:
    """Return each file that was laid aside, and where it belongs."""
    return [
        (path, folder / path.name)
        for folder in (installation.signer, installation.relay)
        for path in sorted((folder / UNCONFIRMED).glob("*"))
    ]


def _place(folder: Path, name: str, ours: bool) -> Path:
    """Return where a restored file goes."""
    if ours or not _RIGHTS.fullmatch(f"{folder.name}/{name}"):
        return folder / name
    (folder / UNCONFIRMED).mkdir(mode=0o700, exist_ok=True)
    return folder / UNCONFIRMED / name


def _write(file: Path, manifest: dict[str, Any], copies: Mapping[str, Path], now: int) -> None:
    """Write the archive: 0600 from its first byte, on the disk, and gone when it fails."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(file, flags, 0o600)
    try:
        with open(handle, "wb") as out:  # noqa: PTH123 -- a descriptor, not a path
            with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
                _add(archive, _MANIFEST, json.dumps(manifest, indent=1).encode(), now)
                for inside, path in copies.items():
                    archive.add(path, inside, recursive=False, filter=_anonymous)
            out.flush()
            os.fsync(handle)
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    sync_folder(file.parent)


def _copy(data: Path, target: Path) -> dict[str, Path]:
    """Copy what belongs into a backup; return the copies by their names in the archive."""
    copies: dict[str, Path] = {}
    for path in sorted(data.rglob("*")):
        inside = path.relative_to(data).as_posix()
        if not _KEPT.fullmatch(inside) or path.is_symlink() or not path.is_file():
            continue
        copy = target / inside
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".sqlite3":
            _copy_database(path, copy)
        else:
            shutil.copyfile(path, copy)
        copies[inside] = copy
    return copies


def _copy_database(path: Path, copy: Path) -> None:
    """Copy a database that may be in use, and look whether the copy is whole."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as source, closing(sqlite3.connect(copy)) as made:
        source.backup(made)
        made.execute("PRAGMA journal_mode = DELETE")
        (result,) = made.execute("PRAGMA quick_check").fetchone()
        if result != "ok":
            raise sqlite3.DatabaseError(f"{path} is damaged: {result}")


def _stage(target: Path, stack: ExitStack) -> Path:
    """Return a directory in `target`, which must be empty; it is gone when `stack` ends."""
    target.mkdir(mode=0o700, exist_ok=True)
    if any(target.iterdir()):
        raise BackupFailed(f"{target} is not empty; restore into an empty place")
    name = stack.enter_context(tempfile.TemporaryDirectory(dir=target, prefix=".restore-"))
    return Path(name)


def _read_manifest(archive: tarfile.TarFile) -> dict[str, Any]:
    first = archive.next()
    if first is None or first.name != _MANIFEST or first.size > _MANIFEST_BYTES:
        raise BackupFailed("this is not a backup of `bunker backup`")
    return _manifest(archive.extractfile(first))


def _extract(
    archive: tarfile.TarFile, manifest: dict[str, Any], staged: Mapping[str, Path]
) -> None:
    """Write all files of the manifest below the directories of their parts."""
    missing = dict(manifest["files"])
    for member in archive:
        if member.name == _MANIFEST:
            continue
        content = archive.extractfile(member) if member.isreg() else None
        if content is None or member.name not in missing or member.size > _MAX_FILE:
            raise BackupFailed(f"{member.name!r} does not belong into a backup")
        part, _, rest = member.name.partition("/")
        path = staged[part] / rest
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(path, "xb", opener=_private) as out:
            shutil.copyfileobj(content, out)
        if _digest(path) != missing.pop(member.name):
            raise BackupFailed(f"{member.name} is damaged")
    if missing:
        raise BackupFailed(f"{next(iter(missing))} is missing")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _manifest(content: Any) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(content.read())
        names = list(manifest["files"])
        known = manifest["format"] == FORMAT
        int(manifest["created_at"])
        str(manifest["npub"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BackupFailed("this is not a backup of `bunker backup`") from None
    if not known:
        raise BackupFailed("this backup is of a newer version; update first")
    if not all(_KEPT.fullmatch(name) for name in names):
        raise BackupFailed("this backup names files that do not belong into one")
    return manifest


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _add(archive: tarfile.TarFile, name: str, content: bytes, now: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = len(content), now, 0o600
    archive.addfile(member, io.BytesIO(content))


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Drop the names and numbers of this machine's users."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o600
    return member
