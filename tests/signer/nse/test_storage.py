"""Storages: the old content or the new, whole, whatever happens; and the reference's files."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bunker_core.event import EventTemplate, verify
from bunker_signer.nse import (
    NSE,
    FileStorage,
    KeyInfo,
    MemoryStorage,
    NSEError,
    NSEErrorCode,
    key_names,
)
from bunker_signer.nse.storage import MAX_BLOB_BYTES, NSEStorage
from support.require import need

MASTER = "5f" * 32
EVENT = EventTemplate(1, "hello", (), 1700000000)
KEYS = [
    "nse:blob",
    "nse:blob:bot",
    "nse:blob:a_b",
    "nse:blob:a.b",
    "a:b",
    "a_b",
    "a/b",
    "../x",
    ".x",
]


@pytest.fixture(params=["memory", "file"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> MemoryStorage | FileStorage:
    return MemoryStorage() if request.param == "memory" else FileStorage(tmp_path / "keys")


def refused(storage: NSEStorage, key: str, value: str | None = None) -> str:
    with pytest.raises(NSEError) as raised:
        storage.get(key) if value is None else storage.put(key, value)
    assert raised.value.code is NSEErrorCode.STORAGE_ERROR
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_holds_what_was_put(storage: MemoryStorage | FileStorage) -> None:
    """What was put under a key is there until it is deleted, and under no other key."""
    for key in KEYS:
        assert storage.get(key) is None
        storage.put(key, f"value of {key}")
    assert {key: storage.get(key) for key in KEYS} == {key: f"value of {key}" for key in KEYS}
    assert storage.keys() == sorted(KEYS)
    for key in KEYS:
        storage.delete(key)
        storage.delete(key)
    assert storage.keys() == []


def test_swap_writes_over_what_was_read_alone(storage: MemoryStorage | FileStorage) -> None:
    """A swap succeeds only when nobody wrote since."""
    assert not storage.swap("k", "a", "b")
    assert storage.swap("k", None, "a")
    assert not storage.swap("k", None, "b")
    assert not storage.swap("k", "b", "c")
    assert storage.swap("k", "a", "b")
    assert storage.get("k") == "b"


def test_nothing_leaves_the_directory(tmp_path: Path) -> None:
    """No key names a file outside of the directory, and the files are the owner's alone."""
    storage = FileStorage(tmp_path / "keys")
    for key in KEYS:
        storage.put(key, "x")
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    for path in (tmp_path / "keys").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_mode_is_mended(tmp_path: Path) -> None:
    """A file that others could read is the owner's alone once it is written."""
    path = tmp_path / "nse_blob"
    path.write_text("old")
    path.chmod(0o644)
    FileStorage(tmp_path).put("nse:blob", "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_no_symlink_is_followed(tmp_path: Path) -> None:
    """A link in the place of a key file is neither read nor written through."""
    outside = tmp_path / "outside"
    outside.write_text("theirs")
    (tmp_path / "keys").mkdir()
    storage = FileStorage(tmp_path / "keys")
    link = tmp_path / "keys" / "nse_blob"
    link.symlink_to(outside)
    refused(storage, "nse:blob")
    storage.put("nse:blob", "ours")
    assert outside.read_text() == "theirs"
    assert not link.is_symlink()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * (MAX_BLOB_BYTES + 1)])
def test_file_that_is_no_key(tmp_path: Path, content: bytes) -> None:
    """A file that is binary or endless is refused."""
    (tmp_path / "nse_blob").write_bytes(content)
    refused(FileStorage(tmp_path), "nse:blob")


def test_directory_in_place_of_a_file(tmp_path: Path) -> None:
    """A directory where the key file should be is an NSEError."""
    (tmp_path / "nse_blob").mkdir()
    refused(FileStorage(tmp_path), "nse:blob")
    refused(FileStorage(tmp_path), "nse:blob", "x")
    with pytest.raises(NSEError):
        FileStorage(tmp_path / "nse_blob" / "\0")


def test_a_file_instead_of_the_directory(tmp_path: Path) -> None:
    """A directory that can't be made is an NSEError."""
    (tmp_path / "file").touch()
    with pytest.raises(NSEError) as raised:
        FileStorage(tmp_path / "file")
    assert raised.value.code is NSEErrorCode.STORAGE_ERROR


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(directory)]
    done = subprocess.run(mount, capture_output=True, check=False)
    need(done.returncode == 0, "mounting a small file system needs root")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def test_full_disk_keeps_the_key(small_disk: Path) -> None:
    """With the disk full a change fails, nothing is left over, and the old key signs."""
    with NSE(MASTER, FileStorage(small_disk)) as nse:
        nse.generate()
        before = (small_disk / "nse_blob").read_bytes()
        filler = small_disk / "filler"
        with pytest.raises(OSError, match="No space"):
            fill(filler)
        with pytest.raises(NSEError) as raised:
            nse.rotate()
        assert raised.value.code is NSEErrorCode.STORAGE_ERROR
        assert "No space" in str(raised.value)
        assert (small_disk / "nse_blob").read_bytes() == before
        assert {path.name for path in small_disk.iterdir()} == {"nse_blob", "filler"}
        verify(nse.sign(EVENT))


def test_full_disk_makes_no_key(small_disk: Path) -> None:
    """With the disk full no key is made, and none is half there."""
    (small_disk / "filler").write_bytes(bytes(64 * 1024))
    with NSE(MASTER, FileStorage(small_disk)) as nse:
        with pytest.raises(NSEError):
            nse.generate()
        assert not nse.exists()
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def test_file_size_limit_keeps_the_key(tmp_path: Path) -> None:
    """A write that the system cuts short leaves the old file, not a shorter one."""
    storage = FileStorage(tmp_path)
    storage.put("k", "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        refused(storage, "k", "n" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert storage.get("k") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["k"]


@pytest.fixture
def read_only(small_disk: Path) -> Path:
    """A directory with a key, on a disk that is mounted read-only."""
    with NSE(MASTER, FileStorage(small_disk)) as nse:
        nse.generate()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    return small_disk


def test_read_only_directory(read_only: Path) -> None:
    """On a read-only disk the key signs, and every change is one NSEError."""
    with NSE(MASTER, FileStorage(read_only)) as nse:
        verify(nse.sign(EVENT))
        for change in (nse.rotate, nse.destroy):
            with pytest.raises(NSEError) as raised:
                change()
            assert raised.value.code is NSEErrorCode.STORAGE_ERROR
        verify(nse.sign(EVENT))


def test_two_threads_make_one_key(storage: MemoryStorage | FileStorage) -> None:
    """Of many enclaves that generate at once one succeeds, and its key is the one stored."""
    made: list[KeyInfo] = []
    refusals: list[NSEErrorCode] = []
    start = threading.Barrier(8)

    def generate() -> None:
        with NSE(MASTER, storage) as nse:
            start.wait()
            try:
                made.append(nse.generate())
            except NSEError as error:
                refusals.append(error.code)

    threads = [threading.Thread(target=generate) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert refusals == [NSEErrorCode.KEY_EXISTS] * 7
    with NSE(MASTER, storage) as nse:
        assert nse.sign(EVENT).pubkey == made[0].pubkey


def test_two_processes_make_one_key(tmp_path: Path) -> None:
    """Of several processes that generate at once one succeeds, and its key is the one stored."""
    code = (
        "import sys; from bunker_signer.nse import *\n"
        "nse = NSE('5f' * 32, FileStorage(sys.argv[1]))\n"
        "print('up', flush=True); sys.stdin.read()\n"
        "try: print(nse.generate().pubkey)\n"
        "except NSEError as error: print(error.code.value)\n"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.close()
    said = []
    for child in children:
        assert child.stdout is not None
        said.append(child.stdout.read().strip())
        child.stdout.close()
        child.wait()
    assert said.count("KEY_EXISTS") == 3
    with NSE(MASTER, FileStorage(tmp_path)) as nse:
        assert nse.sign(EVENT).pubkey in said


def test_changes_of_two_enclaves_do_not_mix(tmp_path: Path) -> None:
    """A change made elsewhere is noticed: the next use reads the file anew."""
    storage = FileStorage(tmp_path)
    with NSE(MASTER, storage) as one, NSE(MASTER, storage) as two:
        pubkey = one.generate().pubkey
        assert two.sign(EVENT).pubkey == pubkey
        one.rotate()
        assert two.sign(EVENT).pubkey == pubkey
        two.destroy()
        with pytest.raises(NSEError) as raised:
            one.sign(EVENT)
        assert raised.value.code is NSEErrorCode.KEY_NOT_FOUND
        other = two.generate().pubkey
        assert one.sign(EVENT).pubkey == other != pubkey


class Plain:
    """A storage with the reference package's three methods and no more."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def get(self, key: str) -> str | None:
        return self.values.get(key)

    def put(self, key: str, value: str) -> None:
        self.values[key] = value

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


def test_storage_of_the_reference_package_will_do() -> None:
    """Who wrote a storage for the reference package uses it as it is, but it can't list keys."""
    storage = Plain()
    with NSE(MASTER, storage) as nse:
        nse.generate()
        nse.rotate()
        verify(nse.sign(EVENT))
    with pytest.raises(NSEError):
        key_names(storage)


def test_key_names(storage: MemoryStorage | FileStorage) -> None:
    """The names of the keys in a storage are listed, and nothing else that lies there."""
    for name in ("zap_bot", "default", "a.b-c"):
        with NSE(MASTER, storage, name=name) as nse:
            nse.generate()
    storage.put("other", "x")
    assert key_names(storage) == ["a.b-c", "default", "zap_bot"]


def test_whoever_looks_makes_nothing(tmp_path: Path) -> None:
    """Without a directory there is no key; the first that is written makes it, for its owner."""
    storage = FileStorage(tmp_path / "data" / "keys")
    assert storage.keys() == []
    assert storage.get("k") is None
    assert not list(tmp_path.iterdir())
    storage.put("k", "x")
    assert (tmp_path / "data" / "keys").stat().st_mode & 0o777 == 0o700
    assert storage.keys() == ["k"]


@pytest.fixture
def settled(tmp_path: Path) -> FileStorage:
    """A storage with one file that was written a while ago, and read once."""
    storage = FileStorage(tmp_path / "keys")
    storage.put("nse:blob", "one")
    past = time.time_ns() + 10**9
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bunker_signer.nse.storage.time.time_ns", lambda: past)
        assert storage.get("nse:blob") == "one"
    return storage


def test_a_file_that_did_not_change_is_not_opened(
    settled: FileStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process without a descriptor left still signs."""

    def no_descriptors(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "open", no_descriptors)
    assert settled.get("nse:blob") == "one"


@pytest.mark.parametrize("how", ["put", "in place", "removed", "symlink", "unreadable"])
def test_a_file_that_changed_is_seen_at_once(
    how: str, settled: FileStorage, tmp_path: Path
) -> None:
    """By this process or another, of the same length, or made into something else."""
    path = tmp_path / "keys" / "nse_blob"
    match how:
        case "put":
            FileStorage(tmp_path / "keys").put("nse:blob", "two")
            assert settled.get("nse:blob") == "two"
        case "in place":
            path.write_text("two")
            assert settled.get("nse:blob") == "two"
        case "removed":
            path.unlink()
            assert settled.get("nse:blob") is None
        case "symlink":
            other = tmp_path / "other"
            other.write_text("one")
            path.unlink()
            path.symlink_to(other)
            with pytest.raises(NSEError):
                settled.get("nse:blob")
        case "unreadable":
            path.unlink()
            path.mkdir()
            with pytest.raises(NSEError):
                settled.get("nse:blob")


def test_what_was_just_written_is_read_again(tmp_path: Path) -> None:
    """Two changes within a tick of the clock can look the same."""
    storage = FileStorage(tmp_path / "keys")
    storage.put("nse:blob", "one")
    assert storage.get("nse:blob") == "one"
    assert not storage._read
