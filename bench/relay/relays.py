"""The relays that are measured, each started as its own documentation says, its limits lifted.

A limit that protects a relay from one address would else be what is measured: all of the load
generator's traffic comes from one.
"""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bench.load.frames import HandshakeFailed
from bench.load.websocket import Socket

START_TIMEOUT: Final = 30.0  # seconds
STOP_TIMEOUT: Final = 10.0
_PEERS: Final = Path(__file__).parents[1] / "peers"

OURS: Final = "nostr-bunker"
PLAIN: Final = "nostr-bunker plain"
LOCAL_RELAY: Final = "nostr-sdk LocalRelay"
NOSTR_RELAY: Final = "nostr-relay"

_UNLIMITED: Final = {
    f"BUNKER_RELAY_RATES__{name}__{key}": "1000000"
    for name in (
        "EVENTS_PER_IP", "EVENTS_PER_PUBKEY", "SIGNING_PER_IP", "SIGNING_PER_PUBKEY",
        "STRANGERS_PER_IP", "QUERIES_PER_IP", "CONNECTIONS_PER_IP",
    )
    for key in ("PER_SECOND", "BURST")
} | {
    "BUNKER_RELAY_LIMITS__MAX_CONNECTIONS": "100000",
    "BUNKER_RELAY_LIMITS__MAX_CONNECTIONS_PER_IP": "100000",
    "BUNKER_RELAY_LIMITS__MAX_SUBSCRIPTION_BYTES": "100000000",
    "BUNKER_RELAY_LIMITS__MAX_FILTERS_PER_IP": "100000",
}  # fmt: skip

_NOSTR_RELAY_CONFIG: Final = """\
DEBUG: false
storage:
  sqlalchemy.url: sqlite+aiosqlite:///{data}/nostr.sqlite3
  validators:
    - nostr_relay.validators.is_not_too_large
    - nostr_relay.validators.is_signed
    - nostr_relay.validators.is_recent
verification:
  nip05_verification: disabled
gunicorn:
  bind: 127.0.0.1:{port}
  workers: 1
authentication:
  enabled: false
subscription_limit: 200
logging:
  version: 1
  root: {{level: ERROR}}
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a relay is started; `{port}` and `{data}` stand in `command` for what they say."""

    name: str
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    config: str = ""  # written to {data}/config
    url: str = ""  # of a relay that is running already
    stores: bool = True


@dataclass(slots=True)
class Target:
    """A relay that is running. `pid` is 0 for one that somebody else has started."""

    recipe: Recipe
    host: str
    port: int
    path: str = "/"
    pid: int = 0
    process: asyncio.subprocess.Process | None = None

    @property
    def name(self) -> str:
        """The relay's name."""
        return self.recipe.name

    @property
    def url(self) -> str:
        """The relay's URL."""
        return f"ws://{self.host}:{self.port}{self.path}"


def ours(*arguments: str, name: str = OURS, profile: str = "open") -> Recipe:
    """Return our own relay."""
    command = (
        sys.executable, "-m", "bunker", "relay", "run", "--host", "127.0.0.1",
        "--port", "{port}", "--data", "{data}", "--profile", profile, *arguments,
    )  # fmt: skip
    return Recipe(name, command, _UNLIMITED)


def plain() -> Recipe:
    """Return our own relay on the ordinary ASGI path."""
    recipe = ours(name=PLAIN)
    return Recipe(PLAIN, recipe.command, {**_UNLIMITED, "BUNKER_RELAY_PLAIN": "true"})


def local_relay(python: str) -> Recipe:
    """Return rust-nostr's LocalRelay; it keeps events in memory."""
    return Recipe(LOCAL_RELAY, (python, str(_PEERS / "local_relay.py"), "{port}"))


def nostr_relay(python: str) -> Recipe:
    """Return nostr-relay 1.14 with its default storage, SQLite, under uvicorn."""
    command = str(Path(python).with_name("nostr-relay"))
    return Recipe(
        NOSTR_RELAY,
        (command, "-c", "{data}/config", "serve", "--use-uvicorn"),
        config=_NOSTR_RELAY_CONFIG,
    )


@asynccontextmanager
async def running(
    recipe: Recipe, core: int | None, data: Path | None = None, port: int = 0
) -> AsyncIterator[Target]:
    """Run a relay on `core`; `data` is its directory if it is to outlive the relay."""
    if recipe.url:
        parts = urlsplit(recipe.url)
        yield Target(recipe, parts.hostname or "", parts.port or 80, parts.path or "/")
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        folder = data or Path(scratch)
        port = port or free_port()
        names = {"port": str(port), "data": str(folder)}
        if recipe.config:
            (folder / "config").write_text(recipe.config.format(**names))
        process = await asyncio.create_subprocess_exec(
            *(part.format(**names) for part in recipe.command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=(folder / "stderr").open("wb"),
            env={**os.environ, **recipe.environment},
            preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
        )
        target = Target(recipe, "127.0.0.1", port, pid=process.pid, process=process)
        try:
            await _listening(target, folder)
            yield target
        finally:
            await stop(process)


async def stop(process: asyncio.subprocess.Process) -> None:
    """Stop a process that this one has started."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_TIMEOUT):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _listening(target: Target, folder: Path) -> None:
    async with asyncio.timeout(START_TIMEOUT):
        while True:
            try:
                first = await Socket.open(target.host, target.port)
            except (OSError, HandshakeFailed):
                if target.process is not None and target.process.returncode is not None:
                    said = (folder / "stderr").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"{target.name} ended: {said}") from None
                await asyncio.sleep(0.01)
            else:
                first.close()
                return
