"""Programs of other projects as processes of their own, and what they report."""

import asyncio
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import pytest

from support.require import need

HERE: Final = Path(__file__).parent
NODE: Final = HERE / "node"
BUILT: Final = HERE.parents[1] / "build" / "interop"
PACKAGE: Final = NODE / "package.json"
TIMEOUT: Final = 60.0  # seconds for all that one program does
Kind = Callable[[str], tuple[str, ...]]  # from the name of a program to its command: `node`, `go`

OK: Final = "ok"
NOT_OFFERED: Final = "not offered"
_PACKAGES: Final = {
    "NDK": "@nostr-dev-kit/ndk",
    "NDK 2": "ndk2",
    "Snort": "@snort/system",
    "applesauce": "applesauce-signers",
    "nostrify": "@nostrify/nostrify",
    "welshman": "@welshman/signer",
}
# Where the version of a program stands that is built here.
_BUILT_FROM: Final = {
    "go-nostr": ("go/go.mod", r"go-nostr v([\d.]+)"),
    "rust-nostr 0.44": ("rust/Cargo.toml", r'nostr-connect = "=([\d.]+)"'),
}
# In the order in which the matrix shows them.
OPERATIONS: Final = (
    "connect",
    "get_public_key",
    "sign_event",
    "nip44_encrypt",
    "nip44_decrypt",
    "nip44 66 kB",
    "nip04_encrypt",
    "nip04_decrypt",
    "ping",
    "switch_relays",
    "denied",
    "unknown method",
    "logout",
    "after logout",
)


@dataclass(slots=True)
class Row:
    """One line of the matrix: who spoke to whom, and how each operation went."""

    name: str
    outcomes: dict[str, str] = field(default_factory=dict)
    operations: tuple[str, ...] = OPERATIONS  # lines with the same ones are shown together
    texts: dict[str, str] = field(default_factory=dict)  # of refusals, as the caller reads them
    notes: list[str] = field(default_factory=list)  # what was seen and fits no cell

    async def attempt(self, operation: str, action: Callable[[], Awaitable[object]]) -> None:
        """Run one operation of ours and keep how it went; a failure does not end the row."""
        try:
            await action()
        except Exception as error:  # noqa: BLE001 -- whatever it is, it belongs in the matrix
            self.outcomes[operation] = f"failed: {type(error).__name__}: {error}"
        else:
            self.outcomes.setdefault(operation, OK)  # an operation in two parts may have failed

    def expect(self, *, not_offered: tuple[str, ...] = ()) -> None:
        """Fail unless every operation went well, but for those that the other side has not."""
        expected = {name: NOT_OFFERED if name in not_offered else OK for name in self.operations}
        assert {name: self.outcomes.get(name, "missing") for name in self.operations} == expected


@dataclass(slots=True)
class Peer:
    """A running program that reports in lines of JSON; other lines are kept as `noise`."""

    process: asyncio.subprocess.Process
    outcomes: dict[str, str] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)
    noise: list[str] = field(default_factory=list)

    async def until(self, key: str) -> Any:
        """Return what the program tells under `key`, as soon as it does."""
        while key not in self.told:
            if not await self._read():
                pytest.fail(f"ended before it told {key}:\n" + "\n".join(self.noise))
        return self.told[key]

    async def finish(self) -> None:
        """Read all that the program reports."""
        async with asyncio.timeout(TIMEOUT):
            while await self._read():
                pass

    async def _read(self) -> bool:
        if self.process.stdout is None:
            raise RuntimeError("standard output is not a pipe")
        raw = await self.process.stdout.readline()
        text = raw.decode(errors="replace").rstrip("\n")
        if not text.startswith("{"):
            self.noise.append(text)
            return bool(raw)
        line = json.loads(text)
        if "operation" in line:
            self.outcomes[line["operation"]] = line["outcome"]
        else:
            self.told.update(line)
        return True


@asynccontextmanager
async def running(*command: str) -> AsyncIterator[Peer]:
    """Run a program; it is gone when the context ends."""
    process = await launch(*command)
    try:
        yield Peer(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@asynccontextmanager
async def ended(
    process: asyncio.subprocess.Process, read: Callable[[], Coroutine[Any, Any, None]]
) -> AsyncIterator[None]:
    """Have `read` take what a program tells, to its last line; it is gone at the block's end."""
    reading = asyncio.create_task(read())
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def launch(
    *command: str,
    stdin: int = asyncio.subprocess.DEVNULL,
    stderr: int = asyncio.subprocess.STDOUT,
) -> asyncio.subprocess.Process:
    """Start a program that writes lines of up to 1 MiB, which the caller reads."""
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
        limit=1024 * 1024,
        env={**os.environ, "NODE_NO_WARNINGS": "1"},
    )


def node(script: str) -> tuple[str, ...]:
    """Return the command of a script in node/, or skip where it can't run."""
    program = shutil.which("node")
    need(program, "Node.js 20 or later")
    with PACKAGE.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers of pytest-xdist take turns
        if not _installed():
            npm = shutil.which("npm")
            need(npm, "npm, to install the clients of tests/interop/node")
            command = [str(npm), "install", "--no-package-lock", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=NODE, capture_output=True, check=False)
            need(done.returncode == 0, f"the packages of {PACKAGE}, which npm could not install")
    return str(program), str(NODE / script)


def python(script: str) -> tuple[str, ...]:
    """Return the command of a script in python/; skip without nostr_sdk."""
    try:
        version("nostr-sdk")
    except ModuleNotFoundError:
        need(False, "nostr-sdk 0.45.1")
    return sys.executable, str(HERE / "python" / script)


def go(folder: str) -> tuple[str, ...]:
    """Return the command of the Go program in a folder beside this file, or skip without Go."""
    program = shutil.which("go")
    need(program, "Go, to build tests/interop/go")
    target = BUILT / f"driven-{folder.replace('/', '-')}"
    _build([str(program), "build", "-o", str(target), "."], HERE / folder, target)
    return (str(target),)


def rust(script: str) -> tuple[str, ...]:
    """Return the command of a Rust program here, FOLDER or FOLDER/BINARY, or skip without cargo."""
    program = shutil.which("cargo")
    need(program, "cargo, to build tests/interop/rust")
    folder, _, binary = script.partition("/")
    target = BUILT / "cargo"
    made = target / "debug" / (binary or "driven")
    _build([str(program), "build", "-q", "--target-dir", str(target)], HERE / folder, made)
    return (str(made),)


def _build(command: list[str], folder: Path, made: Path) -> None:
    """Build a program, once; skip where its packages can't be had."""
    BUILT.mkdir(parents=True, exist_ok=True)
    with (BUILT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers of pytest-xdist take turns
        newest = max(path.stat().st_mtime for path in folder.rglob("*") if path.is_file())
        if made.is_file() and made.stat().st_mtime > newest:
            return
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        need(done.returncode == 0, f"{' '.join(command[:2])} in {folder}: {done.stderr[-300:]}")


def library_version(name: str) -> str:
    """Return name and version of a library, as the matrix names it."""
    if name in _BUILT_FROM:
        file, pattern = _BUILT_FROM[name]
        found = re.search(pattern, (HERE / file).read_text())
        return f"{name.partition(' ')[0]} {found[1] if found else '?'}"
    if name == "nostr_sdk":
        return f"nostr_sdk {version('nostr-sdk')}"
    if name == "our client":
        return name
    package = _PACKAGES.get(name, name)
    return f"{name.removesuffix(' 2')} {_pinned()[package].rpartition('@')[2]}"


def _pinned() -> dict[str, str]:
    versions: dict[str, str] = json.loads(PACKAGE.read_text())["dependencies"]
    return versions


def _installed() -> bool:
    """Tell whether node_modules holds just what package.json asks for."""
    for name, wanted in _pinned().items():
        manifest = NODE / "node_modules" / name / "package.json"
        version_wanted = wanted.rpartition("@")[2]  # npm:@name@version is another's name
        if not manifest.is_file() or json.loads(manifest.read_text())["version"] != version_wanted:
            return False
    return True
