"""The three bindings of libsecp256k1: each is chosen, and each passes what the usual one passes."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bunker_core.keys import libsecp256k1
from support.require import need, need_libsecp256k1

TESTS = Path(__file__).parents[2]
BINDINGS = ("coincurve", "btclib", "system")
# BIP-340's and NIP-44's vectors, the key at rest, and what its use leaves in memory.
SAME = (
    "core/keys/test_keys.py",
    "core/nips/test_nip04.py",
    "core/nips/test_nip44.py",
    "signer/nse/test_enclave.py",
    "signer/nse/scan/test_memory_scan.py",
)
QUIET = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist")
# What differs by the device or the number of threads, and not by the binding.
ONCE = ("-k", "not device and not fallback and not dummy_decryption_is_needed and not [8]")


@pytest.mark.parametrize("binding", [name for name in BINDINGS if name != libsecp256k1.name])
def test_each_binding_passes_the_same_tests(binding: str) -> None:
    """Vectors, NSE and memory scan hold with every binding that somebody may have."""
    if binding == "coincurve":
        need(sys.version_info < (3, 14), "coincurve has no wheels from Python 3.14 on")
    need_libsecp256k1(binding)
    code = (
        "import sys, pytest, bunker_core.keys.libsecp256k1 as it; "
        f"assert it.name == {binding!r}; "
        "sys.exit(pytest.main(sys.argv[1:]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *QUIET, *SAME, *ONCE],
        cwd=TESTS,
        env={**os.environ, "BUNKER_LIBSECP256K1": binding},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-1000:]
    assert " passed" in run.stdout


def test_without_coincurve_the_next_one_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not installed is passed over; what has no such function is passed over, too."""
    need(importlib.util.find_spec("_btclib_secp256k1"), "btclib-secp256k1 is not installed")

    class Old:
        """A library that was built without the Schnorr module."""

    def missing() -> tuple[Any, Any]:
        raise ImportError("none here")

    bindings = dict(libsecp256k1._BINDINGS)
    monkeypatch.setitem(bindings, "coincurve", missing)
    monkeypatch.setattr(libsecp256k1, "_BINDINGS", bindings)
    assert libsecp256k1.load()[0] == "btclib"
    bindings["btclib"] = lambda: (None, Old())
    bindings["system"] = missing
    with pytest.raises(ImportError, match=r"install coincurve or btclib-secp256k1 .*none here"):
        libsecp256k1.load()


def test_a_name_that_is_none_is_refused() -> None:
    """A typing error in the environment is said, and gives no other binding."""
    with pytest.raises(ImportError, match="one of coincurve, btclib, system"):
        libsecp256k1.load("coinbase")
