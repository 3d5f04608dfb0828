"""The proof that the key is nowhere else: another process reads all memory of one that used it.

`PYTHONPATH=tests python tests/signer/nse/scan/test_memory_scan.py` prints the copies found.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bunker_core.keys import SecretKey, libsecp256k1
from bunker_core.nips import nip44
from bunker_signer.nse import NSE, FileStorage
from bunker_signer.nse.blob import BlobV2, parse_blob
from bunker_signer.nse.memory import MemoryLevel, Page
from bunker_signer.nse.vault import Vault
from bunker_signer.nse.wrap import Protector, make_protector
from bunker_signer.nse.wrap.master_key import MasterKey
from bunker_signer.nse.wrap.passphrase import Argon2, Passphrase
from bunker_signer.nse.wrap.slots import open_data_key
from signer.nse.scan.scan import Found, scan, used
from support.require import need, need_libsecp256k1

if TYPE_CHECKING:
    from signer.nse.conftest import Kms, Token

CHILD = Path(__file__).with_name("scanned.py")
# How long a child may take on a busy machine; nothing waits for it to pass.
DEADLINE = 120


def found_in(
    implementation: str, threads: int, directory: Path, binding: str = libsecp256k1.name
) -> dict[str, Found]:
    """Return what a child that used a key left in its memory, by the name of the secret."""
    need(sys.platform == "linux", "memory is read through /proc")
    version = 1 if implementation in ("naive", "reference") else 2
    key = SecretKey.generate()
    peer = SecretKey.generate()
    secret = bytearray(32)
    key.copy_secret(secret)
    raw = bytes(secret)
    master = os.urandom(32)
    storage = FileStorage(directory)
    protector = _protector(implementation, master)
    with NSE(storage=storage, protector=protector) as nse:
        nse.import_key(secret, blob_version=version)
    child = subprocess.Popen(
        [sys.executable, CHILD, implementation, str(directory), str(threads), peer.pubkey],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "BUNKER_LIBSECP256K1": binding},
    )

    def secrets() -> dict[str, bytes]:
        made = _opened(storage, master) if implementation == "generate" else raw
        wanted = {"private key": made, "master key": master}
        if version == 2:
            shared = peer.shared_x(key.pubkey)
            wanted |= _wrapping_keys(storage, protector)
            wanted |= {"ECDH x": shared, "conversation key": nip44.conversation_key(shared)}
        return wanted

    given = {"passphrase": master.hex().encode(), "alone": raw + raw}.get(implementation, master)
    return scan_when_ready(child, given, secrets)


@pytest.mark.parametrize("implementation", ["once without chaff", "without chaff"])
def test_the_dummy_decryption_is_needed(implementation: str, tmp_path: Path) -> None:
    """Without it half of the private key, and all of the data key, stay on the stack.

    Also a positive control: the search would find what another implementation left.
    """
    found = found_in(implementation, 0, tmp_path)
    assert found["private key"].total + found["data key"].total > 0


Guard = tuple[str, dict[str, str], bytes]


@pytest.fixture(params=["tpm2", "pkcs11", "kms", "keyring"])
def guard(request: pytest.FixtureRequest) -> Guard:
    """Each device or service: its slot type, its options, its PIN."""
    match request.param:
        case "tpm2":
            return "tpm2", {"tcti": request.getfixturevalue("tcti")}, b"2468"
        case "pkcs11":
            token: Token = request.getfixturevalue("token")
            options = {"module": token.module, "token": token.label}
            return "pkcs11", options, token.pin.encode()
        case "kms":
            kms: Kms = request.getfixturevalue("kms")
            return "aws-kms", {"key": kms.key_id, "endpoint": kms.endpoint}, b""
    request.getfixturevalue("secret_service")
    return "keyring", {}, b""


def test_no_copy_is_left_by_a_device(guard: Guard, tmp_path: Path) -> None:
    """Whatever a device's own library leaves of the wrapping key, the key and data key are gone."""
    slot_type, options, pin = guard
    key = SecretKey.generate()
    secret = bytearray(32)
    key.copy_secret(secret)
    raw = bytes(secret)
    storage = FileStorage(tmp_path)
    protector = make_protector(slot_type, options, lambda _label: bytearray(pin))
    with NSE(storage=storage, protector=protector) as nse:
        nse.import_key(secret, unrecoverable=True)
    secrets = {"private key": raw, **_wrapping_keys(storage, protector)}
    child = subprocess.Popen(
        [sys.executable, CHILD, "guarded", str(tmp_path), "0", "-", json.dumps(guard[:2])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    found = scan_when_ready(child, pin, lambda: secrets)
    print(f"\n{slot_type}: {found}")
    assert found["private key"].total == found["data key"].total == 0


def scan_when_ready(
    child: subprocess.Popen[bytes], secret: bytes, secrets: Callable[[], dict[str, bytes]]
) -> dict[str, Found]:
    """Hand `secret` to a child, wait for its work to be done, search it, and let it end."""
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write(secret)
        child.stdin.flush()
        assert child.stdout.readline() == b"ready\n"
        return scan(child.pid, secrets())
    finally:
        child.stdin.close()
        child.wait(DEADLINE)
        child.stdout.close()


def _protector(implementation: str, master: bytes) -> MasterKey | Passphrase:
    if implementation == "passphrase":
        return Passphrase(master.hex(), Argon2(memory_kib=1024, passes=1))
    return MasterKey(bytearray(master))


def _wrapping_keys(storage: FileStorage, protector: Protector) -> dict[str, bytes]:
    blob = parse_blob(storage.get("nse:blob") or "")
    assert isinstance(blob, BlobV2)
    vault = Vault(MemoryLevel.MLOCK)
    open_data_key(vault, blob, protector)
    found = {"data key": bytes(vault.data_key), "wrapping key": bytes(vault.wrapping_key)}
    vault.page.close()
    return found


def _opened(storage: FileStorage, master: bytes) -> bytes:
    out = bytearray(32)
    with NSE(bytearray(master), storage) as nse, nse._opened():
        out[:] = nse._vault.secret
    return bytes(out)


def _memfd_secret() -> bool:
    page = Page()
    try:
        return page.level is MemoryLevel.MEMFD_SECRET
    finally:
        page.close()


@pytest.mark.parametrize("threads", [0, 8])
def test_no_copy_is_left(threads: int, tmp_path: Path) -> None:
    """After 100 operations no secret is found in any form, not even a quarter of it."""
    need(_memfd_secret(), "the kernel has no memfd_secret")
    found = found_in("memfd_secret", threads, tmp_path)
    assert len(found) == 6
    assert {name: copies for name, copies in found.items() if copies.total} == {}


@pytest.mark.parametrize("threads", [0, 8])
def test_no_copy_is_left_of_a_key_that_stays_open(threads: int, tmp_path: Path) -> None:
    """The key of the traffic lies in the page that nobody reads, and nowhere else."""
    need(_memfd_secret(), "the kernel has no memfd_secret")
    found = found_in("kept open", threads, tmp_path)
    assert {name: copies for name, copies in found.items() if copies.total} == {}


def test_no_copy_is_left_by_the_first_use(tmp_path: Path) -> None:
    """A key opened once leaves nothing, though the loader still binds library calls lazily."""
    need(_memfd_secret(), "the kernel has no memfd_secret")
    found = found_in("once", 0, tmp_path)
    assert {name: copies for name, copies in found.items() if copies.total} == {}


def test_no_copy_is_left_by_a_call_with_nothing_after_it(tmp_path: Path) -> None:
    """A system's libsecp256k1, however old, leaves nothing on the stack of the thread that called.

    The wheels' versions clear what they use, but for what the loader may save of a register.
    """
    need(_memfd_secret(), "the kernel has no memfd_secret")
    need_libsecp256k1("system")
    found = found_in("alone", 5, tmp_path, binding="system")
    assert {name: copies for name, copies in found.items() if copies.total} == {}


def test_no_copy_of_a_passphrase_is_left(tmp_path: Path) -> None:
    """Neither a passphrase that opened the key nor what was derived from it is found."""
    need(_memfd_secret(), "the kernel has no memfd_secret")
    found = found_in("passphrase", 0, tmp_path)
    assert {name: copies for name, copies in found.items() if copies.total} == {}


def test_no_copy_is_left_by_making_keys(tmp_path: Path) -> None:
    """A key that was just made and sealed is found nowhere, nor what it is sealed with."""
    need(_memfd_secret(), "the kernel has no memfd_secret")
    found = found_in("generate", 0, tmp_path)
    assert {name: copies for name, copies in found.items() if copies.total} == {}


@pytest.mark.parametrize("threads", [0, 8])
def test_fallback_leaves_the_data_key_alone(threads: int, tmp_path: Path) -> None:
    """In a locked page only the data key lies, once, while the key is unlocked."""
    found = found_in("mlock", threads, tmp_path)
    assert {name: copies for name, copies in found.items() if copies.total} == {
        "data key": Found(1, 0, 0)
    }


@pytest.mark.parametrize("threads", [0, 8])
def test_the_scan_finds_a_naive_copy(threads: int, tmp_path: Path) -> None:
    """The control: the same scan finds the key of an implementation that holds it as bytes."""
    assert found_in("naive", threads, tmp_path)["private key"].whole >= 1


def test_a_secret_beside_memory_that_nobody_used_is_seen() -> None:
    """The search leaves out long runs of zeros, and no zero that a secret begins or ends with."""
    secret = bytes(3) + os.urandom(26).replace(b"\0", b"\1") + bytes(3)
    parts = used(bytes(200_000) + secret + bytes(200_000))
    assert sum(part.count(secret) for part in parts) == 1
    assert sum(map(len, parts)) < 100_000


def table() -> None:
    """Print implementation, threads, and the copies found of each secret."""
    print(f"{'implementation':16}{'threads':>8}  secrets found: whole/halves/quarters")
    implementations = [
        "naive",
        "reference",
        "mlock",
        "memfd_secret",
        "kept open",
        "passphrase",
        "once",
        "generate",
    ]
    if importlib.util.find_spec("nse") is None:
        implementations.remove("reference")
    for implementation in implementations:
        for threads in (0,) if implementation in ("passphrase", "once", "generate") else (0, 8):
            with tempfile.TemporaryDirectory() as directory:
                found = found_in(implementation, threads, Path(directory))
            text = ", ".join(
                f"{name} {copies.whole}/{copies.halves}/{copies.quarters}"
                for name, copies in found.items()
            )
            print(f"{implementation:16}{threads:>8}  {text}")


if __name__ == "__main__":
    table()
