"""The key page: its levels, what a fork and a core dump see of it, and threads that share it."""

import contextlib
import ctypes
import faulthandler
import mmap
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bunker_core.event import EventTemplate, verify
from bunker_core.keys import SecretKey
from bunker_signer.nse import NSE, NSEError, NSEErrorCode
from bunker_signer.nse.memory import (
    PAGE_BYTES,
    MemoryLevel,
    Page,
    fill_random,
    wipe_bytes,
    wipe_str,
)
from support.require import need

MASTER = "5f" * 32
EVENT = EventTemplate(1, "hello", (), 1700000000)
LEVELS = list(MemoryLevel)
PR_SET_DUMPABLE = 4

linux = pytest.mark.skipif(sys.platform != "linux", reason="/proc and memfd_secret are Linux's")


def page_at(level: MemoryLevel) -> Page:
    if level is MemoryLevel.PLAIN:
        with pytest.warns(RuntimeWarning, match="swapped"):
            return Page(level)
    page = Page(level)
    need(page.level is level, f"this machine does not grant {level.value}")
    return page


def flags_of(page: Page) -> set[str]:
    """Return the kernel's flags of the page's mapping."""
    wanted = f"{page._address:x}-"
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0] and not line.split()[0].endswith(":"):
            inside = line.startswith(wanted)
        if inside and line.startswith("VmFlags:"):
            return set(line.split()[1:])
    raise AssertionError("mapping not found")


def open_files() -> list[str]:
    names = []
    for link in tuple(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # the descriptor of the listing itself
            names.append(str(link.readlink()))
    return names


def in_child(work: Callable[[], int]) -> int:
    """Fork, do `work` there, and return the child's exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        faulthandler.disable()  # the fault is what is tested
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("level", LEVELS)
def test_page_holds_and_forgets(level: MemoryLevel) -> None:
    """A page is zero at first, holds what is written, and is zero after a wipe."""
    page = page_at(level)
    assert page.level is level
    assert len(page.view) == PAGE_BYTES == mmap.PAGESIZE
    assert not any(page.view)
    fill_random(page.view)
    assert any(page.view)
    page.wipe()
    assert not any(page.view)
    page.close()
    page.close()
    assert not page.alive


@linux
def test_locked_page_stays_in_memory_and_out_of_dumps() -> None:
    """The second level is locked, left out of core dumps, and zero in a child."""
    page = page_at(MemoryLevel.MLOCK)
    assert {"lo", "dd", "wf"} <= flags_of(page)
    page.close()


@linux
def test_secret_page_is_hidden_from_the_kernel_too() -> None:
    """Not even this process reads a memfd_secret page but by its own address."""
    page = page_at(MemoryLevel.MEMFD_SECRET)
    page.view[:4] = b"here"
    # A command that another test ran in this process may have hardened it; then only root opens it.
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    with Path("/proc/self/mem").open("rb", buffering=0) as memory:
        memory.seek(page._address)
        with pytest.raises(OSError, match="Input/output"):
            memory.read(4)
    assert "dc" in flags_of(page)  # MADV_DONTFORK
    assert not [name for name in open_files() if "secretmem" in name]
    page.close()


@linux
@pytest.mark.parametrize("level", LEVELS)
def test_fork_takes_no_key_along(level: MemoryLevel) -> None:
    """A forked child sees zeros in the page, or no page at all."""
    page = page_at(level)
    page.view[:4] = b"here"

    def read() -> int:
        return int(any((ctypes.c_ubyte * 4).from_address(page._address)))

    expected = -signal.SIGSEGV if level is MemoryLevel.MEMFD_SECRET else 0
    assert in_child(read) == expected
    assert bytes(page.view[:4]) == b"here"
    page.close()


@linux
def test_enclave_in_a_fork_says_so() -> None:
    """An enclave that was made before a fork is refused in the child, even while it was busy."""
    with NSE(MASTER) as nse:
        nse.generate()
        held, release = threading.Event(), threading.Event()

        def hold() -> None:
            with nse._lock:
                held.set()
                release.wait()

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait()

        def use() -> int:
            try:
                nse.sign(EVENT)
            except NSEError as error:
                nse.close()
                return 7 if error.code is NSEErrorCode.AUTH_FAILED and "fork" in str(error) else 8
            return 9

        assert in_child(use) == 7
        release.set()
        holder.join()
        verify(nse.sign(EVENT))


def test_threads_share_an_enclave() -> None:
    """Eight threads sign, encrypt and are refused at once; each gets its own right answer."""
    peer = SecretKey.generate()
    failures: list[BaseException] = []
    with NSE(MASTER) as nse:
        nse.generate()

        def work(number: int) -> None:
            try:
                for turn in range(40):
                    text = f"{number} {turn}"
                    signed = verify(nse.sign(EventTemplate(1, text, (), turn)))
                    assert signed.content == text
                    payload = nse.nip44_encrypt(peer.pubkey, text)
                    assert nse.nip44_decrypt(peer.pubkey, payload) == text
                    with pytest.raises(NSEError):
                        nse.nip44_decrypt(peer.pubkey, "A" * 200)
            except (NSEError, AssertionError) as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


@pytest.mark.parametrize("level", LEVELS)
def test_page_is_zero_between_operations(level: MemoryLevel) -> None:
    """After an operation, also one that fails, the page holds the data key alone."""
    peer = SecretKey.generate().pubkey
    if level is MemoryLevel.PLAIN:
        with pytest.warns(RuntimeWarning):
            nse = NSE(MASTER, memory=level)
    else:
        nse = NSE(MASTER, memory=level)
    with nse:
        nse.generate()
        nse.sign(EVENT)
        for call in (
            lambda: nse.sign(EVENT),
            lambda: nse.sign(EventTemplate(1, "\ud800", (), 0)),
            lambda: nse.nip44_encrypt(peer, "x"),
            lambda: nse.nip44_decrypt(peer, "A" * 200),
            lambda: nse.nip04_decrypt(peer, "x?iv=x"),
            lambda: nse.export_ncryptsec("x", log_n=2),
            lambda: nse.import_key(bytearray(32)),
            nse.rotate,
        ):
            with contextlib.suppress(NSEError):
                call()
            assert any(nse._vault.data_key)
            assert not any(nse._vault.page.view[32:])


@linux
def test_without_locked_memory_it_warns() -> None:
    """Where nothing can be locked the enclave works in plain memory, says so and warns."""
    need(os.getuid() == 0, "giving up the right to lock memory is a test for root")
    code = (
        "import os, resource, sys, warnings\n"
        "from bunker_signer.nse import NSE\n"
        "import bunker_signer.nse.memory, cryptography.hazmat.primitives.ciphers.aead\n"
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0)); os.setuid(65534)\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    nse = NSE('5f' * 32)\n"
        "nse.generate()\n"
        "print(nse.memory_level.value, len(caught) > 0, caught[0].message)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.startswith("plain True key memory can be swapped")


HARDENED = """
import ctypes, os, resource, signal, sys
from bunker_signer.nse import NSE, harden_process
if sys.argv[1] == "hardened":
    harden_process()
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE), flush=True)
sys.stdin.read()
"""


@linux
@pytest.mark.parametrize(("mode", "dumpable"), [("plain", "1"), ("hardened", "0")])
def test_hardened_process(mode: str, dumpable: str) -> None:
    """A hardened process makes no core dump, and others of its user can't read its memory."""
    child = subprocess.Popen(
        [sys.executable, "-c", HARDENED, mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    said = child.stdout.readline().split()
    child.stdin.close()
    child.stdout.close()
    child.wait()
    assert said[0] == dumpable
    if mode == "hardened":
        assert said[1:] == ["0", "0"]


@linux
def test_sibling_of_the_same_user_reads_nothing(tmp_path: Path) -> None:
    """Another process of the same user can't open the hardened one's memory."""
    need(os.getuid() == 0, "becoming another user is a test for root")
    code = (
        "import os, sys\n"
        "from bunker_signer.nse import harden_process\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "reads = []\n"
        "for harden in (False, True):\n"
        "    up, said = os.pipe(); child = os.fork()\n"
        "    if child == 0:\n"
        "        import ctypes; ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)\n"
        "        harden and harden_process()\n"
        "        os.write(said, b'x'); os.read(os.pipe()[0], 1); os._exit(0)\n"
        "    os.read(up, 1)\n"
        "    try: open(f'/proc/{child}/mem', 'rb').close(); reads.append(True)\n"
        "    except PermissionError: reads.append(False)\n"
        "    os.kill(child, 9); os.waitpid(child, 0)\n"
        "print(*reads)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.split() == ["True", "False"]


@pytest.mark.parametrize("text", ["ab", "secret text", "sécret", "схема", "key \U0001f511"])
def test_wiping_texts(text: str) -> None:
    """A text of our own is overwritten whole, whatever its alphabet, and its length stays."""
    mine = "".join(list(text))
    wipe_str(mine)
    assert [ord(character) for character in mine] == [0] * len(text)


def test_wiping_bytes() -> None:
    """Bytes of our own are overwritten whole; the ones that all share are left alone."""
    mine = bytes(bytearray(b"secret"))
    wipe_bytes(mine)
    assert mine == bytes(6)
    for shared in (b"", b"a"):
        wipe_bytes(shared)
    wipe_str("a")
    assert chr(97) == "a"
    assert bytes([97]) == b"a"


def test_memory_for_keys_is_not_endless() -> None:
    """Enclaves that are closed give their locked pages back."""
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    count = 64 if limit == resource.RLIM_INFINITY else min(4096, limit // PAGE_BYTES) // 2 + 8
    for _ in range(count):
        with NSE(MASTER) as nse:
            assert nse.memory_level is not MemoryLevel.PLAIN
