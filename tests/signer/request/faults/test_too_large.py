"""An answer that no relay carries costs its own app an error, and nobody else anything."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bunker.harness import running_relay
from bunker_core.keys import SecretKey
from bunker_core.pool.connection import RelayConnection
from bunker_core.pool.protocol import Effect
from bunker_signer.store import journal
from bunker_signer.store.journal import State
from signer.request.support.rig import Rig, rig
from signer.request.wire._wire import TIMEOUT, wire
from support.scripted import scripted_relay

LIMIT = 256 * 1024  # bytes
# Encrypted, in JSON, encrypted again: the request is under the limit, the answer is over it.
TEXT = "x" * 120_000


@asynccontextmanager
async def small_relay(directory: Path) -> AsyncIterator[str]:
    """Run our relay with 256 KiB for a message."""
    directory.mkdir()
    config = directory / "relay.toml"
    config.write_text(f"[limits]\nmax_message_bytes = {LIMIT}\nmax_signing_bytes = {LIMIT}\n")
    async with running_relay(directory, arguments=["--config", str(config)]) as relay:
        yield relay.url


async def others_are_served(signer: Rig) -> None:
    """Five of five other apps have an answer."""
    for _ in range(5):
        async with signer.client() as other:
            assert (await other.ask("ping", rid="p")).json["result"] == "pong"


@pytest.mark.parametrize("told", [True, False])
async def test_five_of_five_other_apps_are_served(
    told: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Before, after, and after a restart, whether the relay tells its limit or closes."""
    key = SecretKey.generate()
    with pytest.MonkeyPatch.context() as patch:
        if not told:
            patch.setattr(RelayConnection, "apply", _deaf())
        async with small_relay(tmp_path / "relay") as relay:
            async with (
                rig(relay, tmp_path / "signer") as signer,
                signer.client("nip44_encrypt", key) as app,
            ):
                answer = await app.ask("nip44_encrypt", signer.user, TEXT, rid="big")
                assert answer.json["result"] == "error"
                assert "too large for the relay, " in answer.error
                assert answer.error.endswith(f" of {LIMIT} bytes" if told else " bytes")
                assert caplog.messages.count("reply too large") == 1
                await others_are_served(signer)
                small = await app.ask("nip44_encrypt", signer.user, "small", rid="small")
                assert not small.error
            async with rig(relay, tmp_path / "signer") as signer:
                with signer.database.read() as connection:
                    assert all(item.state is State.DONE for item in journal.undone(connection))
                await others_are_served(signer)
                async with wire(relay, signer.pubkey, key) as app:
                    again = await app.ask("nip44_encrypt", signer.user, TEXT, rid="big")
                    assert again.error == answer.error
                states = signer.agent.pool.status()
                assert states[relay][1] is None  # the connection was never lost


def _deaf() -> Callable[[RelayConnection, Iterable[Effect]], None]:
    """Return an `apply` of connections for which no relay has a document."""
    apply = RelayConnection.apply

    async def nothing(_url: str, _timeout: float) -> None:
        return None

    def deaf(self: RelayConnection, effects: Iterable[Effect]) -> None:
        self._fetch_limit = nothing
        apply(self, effects)

    return deaf


async def test_the_relay_that_takes_it_gets_it(tmp_path: Path) -> None:
    """Of two relays one takes less than the answer: it comes by the other, whole."""

    async with (
        scripted_relay() as large,
        small_relay(tmp_path / "relay") as small,
        rig(small, tmp_path / "signer", relays=[large.url]) as signer,
        signer.client("nip44_encrypt", relay=large.url) as app,
    ):
        answer = await app.ask("nip44_encrypt", signer.user, TEXT, rid="big")
        assert not answer.error
        assert len(answer.json["result"]) > len(TEXT)


async def test_a_restart_does_not_send_it_again(tmp_path: Path) -> None:
    """Killed before the app could be told: the next run measures, and tells it then."""
    key = SecretKey.generate()
    async with small_relay(tmp_path / "relay") as relay:
        async with rig(relay, tmp_path / "signer") as signer:
            stuck = asyncio.Event()
            courier = signer.agent._courier

            async def never(*_: object) -> None:
                stuck.set()
                await asyncio.Event().wait()

            courier._replace = never  # type: ignore[assignment]
            async with signer.client("nip44_encrypt", key) as app:
                await app.send("nip44_encrypt", signer.user, TEXT, rid="big")
                async with asyncio.timeout(TIMEOUT):
                    await stuck.wait()
        async with wire(relay, signer.pubkey, key) as app, rig(relay, tmp_path / "signer"):
            assert "too large for the relay, " in (await app.receive()).error
