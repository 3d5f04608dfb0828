"""What one app can cost another: a client's pings, alone and beside one whose relay does its worst.

    python -m bench.signer.fairness [--plain]

The bad client sends 400 requests over the signer's relay and listens at a relay of its own, which
answers nothing, refuses, or says `rate-limited:`. Each round takes the figure alone and beside it
at once, so that a machine that slows down slows both. Prints p50 and p99 in milliseconds and the
ratio of the p99, whose aim is 2.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from websockets.asyncio.server import ServerConnection, serve

from bench.signer.remote import SIGNER_LIMITS
from bench.stats import percentile
from bunker.harness import running_relay, running_signer
from bunker_client import RemoteSigner
from bunker_core.event import Event, sign_event
from bunker_core.keys import SecretKey
from bunker_core.nips import nip44
from bunker_core.nips.bunker_uri import NostrConnectURI, parse_bunker_uri
from bunker_core.nips.channel import Channel, rpc_template
from bunker_core.pool import RelayPool
from bunker_signer.control.protocol import send

REQUESTS: Final = 400
FAULTS: Final[dict[str, str | None]] = {
    "silent": None,
    "refuses": "blocked: not here",
    "rate-limited": "rate-limited: slow down",
}

_NO_RATES: Final = "".join(
    f"rates.{name} = {{per_second = 1000000, burst = 1000000}}\n"
    for name in ("signing_per_pubkey", "signing_per_ip", "events_per_pubkey", "events_per_ip")
)


class Worst:
    """A relay that takes everything until it is told to be bad."""

    def __init__(self) -> None:
        self.bad = False
        self.says: str | None = None
        self.got = 0
        self.url = ""

    async def serve(self, socket: ServerConnection) -> None:
        """Answer one connection."""
        async for data in socket:
            message: list[Any] = json.loads(data)
            if message[0] == "REQ":
                await socket.send(json.dumps(["EOSE", message[1]]))
            elif message[0] == "EVENT":
                self.got += 1
                if not self.bad:
                    await socket.send(json.dumps(["OK", message[1]["id"], True, ""]))
                elif self.says is not None:
                    await socket.send(json.dumps(["OK", message[1]["id"], False, self.says]))


@asynccontextmanager
async def worst_relay() -> AsyncIterator[Worst]:
    """Serve it on a free port."""
    relay = Worst()
    async with serve(relay.serve, "127.0.0.1", 0) as server:
        relay.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield relay


async def _pings(client: RemoteSigner, count: int) -> list[float]:
    taken = []
    for _ in range(count):
        begun = time.perf_counter()
        await client.ping()
        taken.append((time.perf_counter() - begun) * 1e3)
    return taken


def _requests(key: SecretKey, remote: str) -> list[Event]:
    """Make the bad client's requests beforehand: its own work is none of the signer's."""
    channel = Channel(remote, nip44.conversation_key(key.shared_x(remote)), key.shared_x)
    texts = (
        json.dumps({"id": f"{number} {time.time()}", "method": "ping", "params": []})
        for number in range(REQUESTS)
    )
    return [
        sign_event(rpc_template(channel.seal(text), remote, int(time.time())), key)
        for text in texts
    ]


async def round_of(
    fault: str, pings: int, folder: Path, *, plain: bool = False
) -> tuple[list[float], list[float]]:
    """Return the pings of a client alone, and beside the bad one."""
    key = SecretKey.generate()
    init = await asyncio.to_thread(
        subprocess.run,
        (sys.executable, "-m", "bunker", "init", "--data", str(folder)),
        capture_output=True,
        text=True,
        check=True,
    )
    signer_pubkey = init.stdout.partition("BUNKER_RELAY_SIGNERS=")[2][:64]
    gate = ["--profile", "bunker", "--signer", signer_pubkey]  # as `bunker up` has it
    if not plain:  # the one client pings more often than any app may
        config = folder / "relay.toml"
        config.write_text(_NO_RATES)
        gate += ["--config", str(config)]
    async with (
        worst_relay() as theirs,
        running_relay(folder / "relay", arguments=() if plain else gate) as relay,
        running_signer(folder / "signer", [relay.url], arguments=SIGNER_LIMITS) as running,
        RemoteSigner.from_uri(running.uri, client_key=SecretKey.generate()) as good,
        RelayPool([relay.url]) as pool,
    ):
        uri = str(NostrConnectURI(key.pubkey, (theirs.url,), "a secret of the fairness bench"))
        await asyncio.to_thread(
            send, folder / "signer", "accept", key="default", uri=uri, grants=[]
        )
        theirs.bad, theirs.says = True, FAULTS[fault]
        remote = parse_bunker_uri(running.uri).remote_signer_pubkey
        await _pings(good, 200)  # caches and branch predictors
        alone = await _pings(good, pings)
        before = theirs.got
        publications = [pool.publish(event) for event in _requests(key, remote)]
        beside = await _pings(good, pings)
        for publication in publications:
            assert await publication.delivered(30) is not None
        # as told by the relay itself: a signer that threw them away would look fast
        async with asyncio.timeout(60):
            while theirs.got - before < REQUESTS // 2:
                await good.ping()
        return alone, beside


async def main(rounds: int, pings: int, *, plain: bool) -> None:
    """Print a line for each fault."""
    for fault in FAULTS:
        ratios, shown = [], ""
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(prefix="bench-") as folder:
                alone, beside = await round_of(fault, pings, Path(folder), plain=plain)
            ratios.append(percentile(beside, 99) / percentile(alone, 99))
            shown = "  ".join(
                f"{name} p50 {percentile(values, 50):.2f} p99 {percentile(values, 99):.2f} ms"
                for name, values in (("alone", alone), ("beside", beside))
            )
        ratio = f"p99 beside / alone: {median(ratios):.2f} of {rounds} rounds"
        print(f"{fault:<13} {ratio}; last: {shown}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pings", type=int, default=2000)
    parser.add_argument(
        "--plain", action="store_true", help="a relay that holds the signer to a rate, as others do"
    )
    options = parser.parse_args()
    asyncio.run(main(options.rounds, options.pings, plain=options.plain))
