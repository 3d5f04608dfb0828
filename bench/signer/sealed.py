"""What a sealed key costs: sign with it, against libsecp256k1 with a key that lies open.

python -m bench.signer.sealed
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Final

from bunker_core import keys
from bunker_core.event import EventTemplate
from bunker_core.keys import wipe
from bunker_signer.nse import NSE, MemoryStorage
from bunker_signer.nse.wrap.master_key import MasterKey

ROUNDS: Final = 30
CALLS: Final = 40  # in a round; rounds alternate, so that a slow moment hits all alike
_EVENT: Final = EventTemplate(22242, "benchmark, not published", (), 0)


@dataclass(frozen=True, slots=True)
class Figures:
    """Microseconds a call, the best round's median: the machine's other work only adds."""

    sealed_sign: float
    bare_sign_and_verify: float

    @property
    def ratio(self) -> float:
        return self.sealed_sign / self.bare_sign_and_verify


def measure(nse: NSE, rounds: int = ROUNDS, calls: int = CALLS) -> Figures:
    """Time `nse.sign` against bare load, sign and verify of an unsealed key. Raises NSEError."""
    secret, keypair = bytearray(32), bytearray(keys.KEYPAIR_BYTES)
    keys.fill_random_secret(secret)
    keys.load_keypair(secret, keypair)
    pubkey = keys.keypair_pubkey(keypair)
    message = bytes(32)

    def bare() -> None:
        keys.load_keypair(secret, keypair)
        keys.verify(pubkey, message, keys.sign(keypair, message))

    try:
        sealed_times: list[float] = []
        bare_times: list[float] = []
        for _ in range(rounds):
            sealed_times.append(_time(lambda: nse.sign(_EVENT), calls))
            bare_times.append(_time(bare, calls))
    finally:
        wipe(secret)
        wipe(keypair)
    return Figures(min(sealed_times), min(bare_times))


def _time(call: Callable[[], object], calls: int) -> float:
    times = []
    for _ in range(calls):
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    return median(times) / 1000


def main() -> None:
    """Measure a key that is made for it."""
    with NSE(storage=MemoryStorage(), protector=MasterKey("5f" * 32)) as nse:
        nse.generate(unrecoverable=True)
        figures = measure(nse)
        print(f"memory                        {nse.memory_level.value}")
    print(f"sign, sealed                  {figures.sealed_sign:8.1f} us")
    print(f"load, sign, verify unsealed   {figures.bare_sign_and_verify:8.1f} us")
    print(f"ratio                         {figures.ratio:8.2f}")


if __name__ == "__main__":
    main()
