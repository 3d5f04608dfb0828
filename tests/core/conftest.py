"""What the tests of core share: where the official vectors lie."""

import csv
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.require import need

VECTORS = "BUNKER_TEST_VECTORS"
# The sum that NIP-44 itself gives for its file.
NIP44_SHA256 = "269ed0f69e4c192512cc779e78c555090cebc7c785b609e338a62afc3ce25040"


@pytest.fixture(scope="session")
def vector_file() -> Callable[[str], bytes]:
    """Read an official vector file; it is never part of this repository."""
    default = Path(__file__).parents[2].parent / "shared" / "vectors"
    folder = Path(os.environ.get(VECTORS, default))

    def read(name: str) -> bytes:
        path = folder / name
        need(path.is_file(), f"{name}: set {VECTORS} to the directory of the official vectors")
        return path.read_bytes()

    return read


@pytest.fixture(scope="session")
def nip44_vectors(vector_file: Callable[[str], bytes]) -> dict[str, Any]:
    """The `v2` part of nip44.vectors.json, whose checksum is NIP-44's."""
    data = vector_file("nip44.vectors.json")
    assert hashlib.sha256(data).hexdigest() == NIP44_SHA256
    vectors: dict[str, Any] = json.loads(data)["v2"]
    return vectors


@pytest.fixture(scope="session")
def bip340_vectors(vector_file: Callable[[str], bytes]) -> list[dict[str, str]]:
    """The rows of BIP-340's test-vectors.csv."""
    return list(csv.DictReader(vector_file("bip340.csv").decode().splitlines()))
