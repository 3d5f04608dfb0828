"""What a signature costs with each protector unlocked, and unlocking itself. Not part of a run:

pytest -q -s tests/signer/nse/wrap/latency.py
"""

import time
from collections.abc import Callable

import pytest
from bench.signer.sealed import measure

from bunker_signer.nse import NSE, MemoryStorage
from bunker_signer.nse.wrap import Protector
from bunker_signer.nse.wrap.master_key import MasterKey
from bunker_signer.nse.wrap.passphrase import Passphrase, ScryptCost

Make = Callable[[], Protector]


@pytest.mark.parametrize("name", ["raw", "argon2id", "scrypt", "tpm2", "pkcs11", "kms", "keyring"])
def test_latency(name: str, request: pytest.FixtureRequest) -> None:
    """Print sign, bare load + sign + verify of the same run, their ratio, and the unlock."""
    made: dict[str, Make] = {
        "raw": lambda: MasterKey("5f" * 32),
        "argon2id": lambda: Passphrase("correct horse"),
        "scrypt": lambda: Passphrase("correct horse", ScryptCost()),
    }
    make: Make = made[name] if name in made else request.getfixturevalue(f"make_{name}")
    storage = MemoryStorage()
    protector = make()
    with NSE(storage=storage, protector=protector) as nse:
        nse.generate(unrecoverable=True)
    with NSE(storage=storage) as nse:
        start = time.perf_counter()
        nse.unlock(protector)
        unlock = (time.perf_counter() - start) * 1000
        figures = measure(nse)
    print(
        f"\n{name:10} sign {figures.sealed_sign:6.1f} us, bare {figures.bare_sign_and_verify:6.1f}"
        f" us, ratio {figures.ratio:.2f}, unlock {unlock:7.1f} ms"
    )
