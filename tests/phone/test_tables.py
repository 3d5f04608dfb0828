"""The phone decides, reads and seals as the Python signer does: both run the same tables."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bunker_signer.nse import NSE, MemoryStorage
from bunker_signer.nse.wrap.passphrase import Passphrase
from phone.export import TABLES, dump, tables
from support.require import need

HERE = Path(__file__).parent
PHONE = HERE.parents[1] / "packages" / "phone"
VECTORS = Path(os.environ.get("BUNKER_TEST_VECTORS", HERE.parents[2] / "shared" / "vectors"))
AGAIN = "the tables are old: (cd tests && ../.venv/bin/python -m phone.export)"


def node() -> str:
    """Return the path of Node.js; skip without it and the packages of the page."""
    path = shutil.which("node")
    need(path, "Node.js 20 or later")
    need((PHONE / "node_modules" / "tiny-secp256k1").is_dir(), "what `make phone` installs")
    return str(path)


@pytest.mark.parametrize("name", sorted(tables()))
def test_tables_are_current(name: str) -> None:
    """What JavaScript is tested against is what Python does today."""
    assert (TABLES / f"{name}.json").read_text() == dump(tables()[name]), AGAIN


def test_javascript_agrees(tmp_path: Path) -> None:
    """Every table, NIP-44's and BIP-340's vectors, blobs and hostile input, run by Node.js.

    A key that JavaScript sealed opens in Python.
    """
    program = node()
    blob = tmp_path / "blob.json"
    vectors = {
        name: str(VECTORS / file)
        for name, file in (("NIP44", "nip44.vectors.json"), ("BIP340", "bip340.csv"))
        if (VECTORS / file).is_file()
    }
    found = subprocess.run(
        [program, "--test", "--test-reporter=spec", str(HERE / "js")],
        env={**os.environ, **vectors, "BLOB_OUT": str(blob)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert found.returncode == 0, found.stdout[-6000:]
    _opens(blob.read_text(), "one")
    _opens(blob.read_text(), "two")


def test_a_blob_of_the_phone_says_what_it_is() -> None:
    """The sealed key has no field that Python does not know."""
    stored = json.loads((TABLES / "blob.json").read_text())
    _opens(stored["blob"], stored["passphrase"])


def _opens(text: str, passphrase: str) -> None:
    storage = MemoryStorage()
    storage.put("nse:blob", text)
    with NSE(storage=storage, protector=Passphrase(passphrase)) as key:
        pubkey = json.loads(text)["pubkey"]
        assert key.get_public_key() == pubkey
        key.conversation_key(pubkey)


def test_packages_are_pinned_by_hash_and_name_no_address() -> None:
    """What `make phone` installs is what was looked at, from whichever registry a machine uses."""
    text = (PHONE / "package-lock.json").read_text()
    assert "http" not in text
    packages = {name: item for name, item in json.loads(text)["packages"].items() if name}
    assert len(packages) > 8
    assert all(item["integrity"].startswith("sha512-") for item in packages.values())
    wanted = json.loads((PHONE / "package.json").read_text())
    for version in (wanted["dependencies"] | wanted["devDependencies"]).values():
        assert version[0].isdigit(), "an exact version"
