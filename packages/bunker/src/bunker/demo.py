"""`bunker demo`: the main job from end to end, with real processes, in a fresh directory."""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Final

import click

from bunker.harness import ProcessFailed, RunningRelay, running_relay, running_signer
from bunker_client import RemoteSigner
from bunker_core.errors import BunkerError
from bunker_core.event import verify
from bunker_core.filter import Filter
from bunker_core.keys import SecretKey
from bunker_core.kinds import NOSTR_CONNECT
from bunker_core.nips.nip46 import ClientMetadata
from bunker_core.pool import RelayPool

CONTENT: Final = "Signed from desktop, key on phone!"
GRANTS: Final = "sign_event:1,nip44_encrypt,nip44_decrypt"
# A query has this long, in seconds, to bring out what the relay should not have.
_LOOK: Final = 5.0


class DemoFailed(BunkerError):
    """A step did not do what it promises."""


class Steps:
    """Prints what happens and how many milliseconds it took."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()

    def done(self, who: str, text: str) -> None:
        """Print a step that just ended."""
        now = time.perf_counter()
        click.echo(f"{1000 * (now - self._last):7.0f} ms  {who:<7} {text}")
        self._last = now

    def total(self) -> float:
        """Return the seconds since the beginning."""
        return time.perf_counter() - self._start


@click.command()
def demo() -> None:
    """Show one remote signature from end to end; leaves nothing behind."""
    steps = Steps()
    try:
        with tempfile.TemporaryDirectory(prefix="bunker-demo-") as directory:
            asyncio.run(_demo(Path(directory), steps))
            steps.done("cleanup", "both processes stopped, the directory is removed")
    except (BunkerError, ProcessFailed) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"done in {steps.total():.1f} s: the app has its signature and never had the key")


async def _demo(directory: Path, steps: Steps) -> None:
    async with running_relay(directory / "relay") as relay:
        steps.done("relay", f"listens on {relay.url} (process {relay.process.pid})")
        async with running_signer(directory / "signer", [relay.url], allow=GRANTS) as signer:
            pid = signer.process.pid
            steps.done("signer", f"sealed a new key, {signer.npub[:16]}… (process {pid})")
            steps.done("signer", f"invites one client: {_shortened(signer.uri)}")
            app_key = SecretKey.generate()
            await _use(signer.uri, app_key, steps)
        await _show_nothing_kept(directory / "relay", relay, app_key, steps)


async def _use(uri: str, app_key: SecretKey, steps: Steps) -> None:
    app = RemoteSigner.from_uri(
        uri, client_key=app_key, metadata=ClientMetadata(name="demo"), timeout=10
    )
    async with app as signer:
        user = signer.user_pubkey
        steps.done("app", f"is paired; it will sign as {user[:8]}…{user[-4:]}")
        event = await signer.request_signature({"kind": 1, "content": CONTENT})
        steps.done("app", f'got the signature of "{event.content}"')
        verify(event)
        steps.done("app", f"verified id {event.id[:8]}… and signature {event.sig[:8]}…")
        friend = SecretKey.generate().pubkey
        payload = await signer.nip44_encrypt(friend, CONTENT)
        steps.done("app", f"had a message encrypted (NIP-44, {len(payload)} characters)")
        if await signer.nip44_decrypt(friend, payload) != CONTENT:
            raise DemoFailed("the decrypted message is another one")
        steps.done("app", "had it decrypted again: the same text")


async def _show_nothing_kept(
    data: Path, relay: RunningRelay, app_key: SecretKey, steps: Steps
) -> None:
    """Ask the relay for the traffic, then stop it and look for the app's key in its files."""
    kept = 0
    async with RelayPool([relay.url]) as pool:
        subscription = pool.subscribe(Filter(kinds=frozenset({NOSTR_CONNECT})))
        await subscription.live(_LOOK)
        subscription.close()
        async for _ in subscription:
            kept += 1
    if kept:
        raise DemoFailed(f"the relay kept {kept} of the requests")
    await relay.terminate()
    files, trace = _look_for(app_key.pubkey, data)
    if trace is not None:
        raise DemoFailed(f"the app's key is in {trace.name}")
    steps.done("relay", f"kept nothing: 0 requests, no trace in its {files} on disk")


def _look_for(pubkey: str, directory: Path) -> tuple[str, Path | None]:
    """Return how many files there are, in words, and one that holds `pubkey` as hex or bytes."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    traces = (pubkey.encode(), bytes.fromhex(pubkey))
    found = (path for path in files if any(trace in path.read_bytes() for trace in traces))
    return f"{len(files)} file{'' if len(files) == 1 else 's'}", next(found, None)


def _shortened(uri: str) -> str:
    pubkey, _, query = uri.partition("?")
    relay, _, _ = query.partition("&secret=")
    return f"{pubkey[:17]}…?{relay}&secret=…"
