"""Zeroing, seen from outside: the renderer's memory after 100 operations of each kind.

The process that runs the page is read through /proc. A control does the same with a library that
computes in BigInt: if its copies were not found, the scan would prove nothing.
"""

import asyncio
import os
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bunker_signer.nse import NSE, MemoryStorage
from bunker_signer.nse.wrap.passphrase import Argon2, Passphrase
from phone._stage import PHONE_FOLDER, Served, phone
from support.require import need

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")
WHOLE_BROWSER = True  # what people's keys are in

KINDS = ("sign", "nip44_encrypt", "nip44_decrypt", "nip04_encrypt", "nip04_decrypt", "nip44v3")
COUNT = 100
PAGE = os.sysconf("SC_PAGE_SIZE")
MOST_MAPPED = 1 << 36  # bytes: more is an address space that was reserved


def forms(secret: bytes) -> dict[str, bytes]:
    """Return the key in every form that was ever found of one."""
    hexed = secret.hex().encode()
    return {
        "raw": secret,
        "reversed": secret[::-1],
        "first half": secret[:16],
        "second half": secret[16:],
        "reversed half": secret[::-1][:16],
        "words reversed": b"".join(secret[at : at + 8][::-1] for at in range(0, 32, 8)),
        "hex": hexed,
        "hex, two bytes a character": hexed.decode().encode("utf-16-le"),
    }


def renderers(browser_pid: int, mark: bytes = b"--type=renderer") -> list[int]:
    """Return the processes beneath a browser that run pages, as their command line tells."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except OSError:
                continue
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])

    def beneath(pid: int) -> bool:
        while pid in parents:
            if pid == browser_pid:
                return True
            pid = parents[pid]
        return False

    found = []
    for pid in parents:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if mark in command and beneath(pid):
            found.append(pid)
    return found


def count(pids: list[int], wanted: dict[str, bytes]) -> dict[str, int]:
    """Count every form in all memory of some processes that is there and can be read."""
    found = dict.fromkeys(wanted, 0)
    for pid in pids:
        folder = Path(f"/proc/{pid}")
        with (folder / "mem").open("rb", 0) as memory:
            for start, end in present(folder):
                try:
                    memory.seek(start)
                    block = memory.read(end - start)
                except (OSError, ValueError):
                    continue
                for name, form in wanted.items():
                    found[name] += block.count(form)
    return found


def present(folder: Path) -> Iterator[tuple[int, int]]:
    """Yield the runs of pages that are in memory: most of what a renderer maps never is."""
    with (folder / "pagemap").open("rb", 0) as pagemap:
        for line in (folder / "maps").read_text().splitlines():
            span, permissions = line.split()[:2]
            start, end = (int(part, 16) for part in span.split("-"))
            if "r" not in permissions or "[v" in line or end - start > MOST_MAPPED:
                continue
            pagemap.seek(start // PAGE * 8)
            entries = array("Q")
            entries.frombytes(pagemap.read((end - start) // PAGE * 8))
            first = None
            for index, entry in enumerate([*entries, 0]):
                there = entry >> 62 != 0  # present, or swapped
                if there and first is None:
                    first = index
                elif not there and first is not None:
                    yield start + first * PAGE, start + index * PAGE
                    first = None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
async def test_no_copy_of_the_key_after_100_operations_of_each_kind(
    chromium: "Browser", served: Served
) -> None:
    """0 copies right after, in any form; the control's copies are found."""
    esbuild = PHONE_FOLDER / "node_modules" / ".bin" / "esbuild"
    need(esbuild.is_file(), "what `make phone` installs")
    need(os.geteuid() == 0 or _may_trace(), "the right to read another process's memory")
    source = Path(__file__).parents[1] / "js" / "memory_bench.js"
    process = await asyncio.create_subprocess_exec(
        *(str(esbuild), "--bundle", "--format=iife", "--minify", str(source)),
        stdout=asyncio.subprocess.PIPE,
    )
    script = (await process.communicate())[0].decode()
    browser_pid = _browser_pid()
    need(browser_pid, "the browser's process")
    async with phone(chromium, served) as handset:
        await handset.page.goto(served.origin)
        await handset.page.get_by_role("button", name="Make a new key").wait_for()
        # Through DevTools, past the page's CSP as nothing on the page could go.
        await handset.page.evaluate(script)
        table: dict[str, dict[str, int]] = {}
        for kind in KINDS:
            secret, _ = _key()
            await handset.page.evaluate(
                "([kind, count, blob]) => bench.run(kind, count, blob)",
                [kind, COUNT, _sealed(secret)],
            )
            table[kind] = count(renderers(browser_pid), forms(secret))
        # The control's key comes as the two halves of an XOR: no message to the page holds it.
        secret, halves = _key()
        await handset.page.evaluate(
            "([count, a, b]) => bench.control(count, a, b)", [COUNT, *halves]
        )
        control = count(renderers(browser_pid), forms(secret))
    print({kind: sum(found.values()) for kind, found in table.items()}, "control:", control)
    assert sum(control.values()) > 0, "the scan finds nothing, so it proves nothing"
    for kind, found in table.items():
        assert sum(found.values()) == 0, f"{kind}: {found}"


def _sealed(secret: bytes) -> str:
    storage = MemoryStorage()
    protector = Passphrase("memory", Argon2(memory_kib=8, passes=1))
    with NSE(storage=storage, protector=protector) as key:
        key.import_key(bytearray(secret))
    return str(storage.get("nse:blob"))


def _key() -> tuple[bytes, tuple[list[int], list[int]]]:
    secret = b"\x01" + os.urandom(31)
    mask = os.urandom(32)
    masked = bytes(a ^ b for a, b in zip(secret, mask, strict=True))
    return secret, (list(mask), list(masked))


def _browser_pid() -> int:
    """Return the newest headless browser that this process started."""
    ours = os.getpid()
    found = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if (
            b"--headless" in command
            and b"--type=" not in command
            and _under(int(folder.name), ours)
        ):
            found = max(found, int(folder.name))
    return found


def _under(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False


def _may_trace() -> bool:
    try:
        return Path("/proc/sys/kernel/yama/ptrace_scope").read_text().strip() == "0"
    except OSError:
        return True


async def test_the_forms_are_all_different() -> None:
    """Every form is looked for on its own."""
    found: dict[str, Any] = forms(bytes(range(32)))
    assert len(set(found.values())) == len(found)
