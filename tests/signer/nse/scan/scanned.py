"""The child process that test_memory_scan reads: works with a key, says so, and waits.

Arguments: the implementation, the key directory, the number of threads, the pubkey of a peer. What
opens the key comes by stdin, mostly the master key as 32 bytes. "ready" on stdout says that the
work is done; the process ends when its stdin is closed.
"""

import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

OPERATIONS = 100
TIME = 1700000000

Work = Callable[[int], None]


def enclave(level: str, directory: str, peer: str) -> tuple[Work, Any]:
    """The NSE under test: signs, encrypts and decrypts."""
    from bunker_core.event import EventTemplate
    from bunker_signer.nse import NSE, FileStorage, MemoryLevel
    from bunker_signer.nse.wrap.master_key import MasterKey

    master = MasterKey.from_file("/dev/stdin")
    nse = NSE(storage=FileStorage(directory), memory=MemoryLevel(level))
    nse.unlock(master)
    master.close()

    def work(number: int) -> None:
        nse.sign(EventTemplate(1, f"note {number}", (), TIME))
        nse.nip44_decrypt(peer, nse.nip44_encrypt(peer, f"secret {number}"))
        nse.nip04_decrypt(peer, nse.nip04_encrypt(peer, f"secret {number}"))

    return work, nse


def kept_open(directory: str, peer: str) -> tuple[Work, object]:
    """The NSE as a signer holds the key of its traffic: in the page from one use to the next."""
    work, nse = enclave("memfd_secret", directory, peer)
    nse.keep_open()
    return work, nse


def passphrase(directory: str, peer: str) -> tuple[Work, object]:
    """Unlocks by a passphrase of 64 characters, the master key in hex, and signs."""
    from bunker_core.event import EventTemplate
    from bunker_core.keys import wipe
    from bunker_signer.nse import NSE, FileStorage
    from bunker_signer.nse.wrap.passphrase import Passphrase

    text = bytearray(64)
    os.readv(0, [text])
    protector = Passphrase(text)
    wipe(text)
    nse = NSE(storage=FileStorage(directory))
    nse.unlock(protector)
    protector.close()

    def work(number: int) -> None:
        nse.sign(EventTemplate(1, f"note {number}", (), TIME))

    return work, nse


def guarded(directory: str, peer: str) -> tuple[Work, object]:
    """Unlocks by the device or service that argument 5 names; its PIN comes by stdin."""
    import json

    from bunker_core.event import EventTemplate
    from bunker_signer.nse import NSE, FileStorage
    from bunker_signer.nse.wrap import make_protector

    slot_type, options = json.loads(sys.argv[5])
    protector = make_protector(slot_type, options, lambda _label: bytearray(os.read(0, 4)))
    nse = NSE(storage=FileStorage(directory))
    nse.unlock(protector)
    if hasattr(protector, "close"):
        protector.close()
    del protector

    def work(number: int) -> None:
        nse.sign(EventTemplate(1, f"note {number}", (), TIME))

    return work, nse


def alone(directory: str, peer: str) -> tuple[Work, object]:
    """Calls libsecp256k1 with the key, in each thread one function and nothing after it."""
    from bunker_core import keys
    from bunker_signer.nse.memory import Page

    page = Page()
    secret, summed, shared = page.view[:32], page.view[32:64], page.view[64:96]
    keypair, loaded = page.view[96:192], page.view[192:288]
    os.readv(0, [secret, summed])
    keys.load_keypair(secret, keypair)
    left = [
        lambda: keys.load_keypair(secret, loaded),
        lambda: keys.sign(keypair, bytes(32)),
        lambda: keys.sign(keypair, bytes(33)),
        lambda: keys.shared_x(secret, peer, shared),
        lambda: keys.add_to_secret(summed, bytearray(32)),
    ]
    mine = threading.local()

    def work(number: int) -> None:
        if number == 0:
            mine.call = left.pop()
        mine.call()

    return work, page


def once(directory: str, peer: str) -> tuple[Work, object]:
    """Opens the key a single time: no later operation overwrites what this one leaves."""
    from bunker_signer.nse import NSE, FileStorage
    from bunker_signer.nse.wrap.master_key import MasterKey

    master = MasterKey.from_file("/dev/stdin")
    nse = NSE(storage=FileStorage(directory))
    nse.unlock(master)
    master.close()
    return lambda number: None, nse


def without_chaff(implementation: Callable[[str, str], tuple[Work, object]]) -> Any:
    """The same without the dummy decryption after each: what that is there for."""

    def opened(directory: str, peer: str) -> tuple[Work, object]:
        from bunker_signer.nse.vault import Vault

        setattr(Vault, "_chaff", lambda _: None)  # noqa: B010 -- a method, to mypy no attribute
        return implementation(directory, peer)

    return opened


def generating(directory: str, peer: str) -> tuple[Work, object]:
    """Makes, seals and destroys keys; the parent reads the last one's file."""
    from bunker_signer.nse import NSE, FileStorage
    from bunker_signer.nse.wrap.master_key import MasterKey

    master = MasterKey.from_file("/dev/stdin")
    nse = NSE(storage=FileStorage(directory), protector=master)

    def work(number: int) -> None:
        if number % 10 == 0:
            nse.destroy()
            nse.generate()

    return work, (nse, master)


def naive(directory: str, peer: str) -> tuple[Work, object]:
    """What one writes without a thought: the key as bytes, for each signature anew."""
    import json
    from hashlib import sha256

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from bunker_core.keys import SecretKey

    blob = json.loads(Path(directory, "nse_blob").read_text())
    master = AESGCM(os.read(0, 32))
    last: list[object] = []

    def work(number: int) -> None:
        ciphertext, iv = bytes.fromhex(blob["ciphertext"]), bytes.fromhex(blob["iv"])
        key = master.decrypt(iv, ciphertext, None)
        signature = SecretKey(key).sign(sha256(str(number).encode()).digest())
        last[:] = [key, signature]

    return work, last


def reference(directory: str, peer: str) -> tuple[Work, object]:
    """nostr-secure-enclave 0.1."""
    nse = import_module("nse")
    storage = import_module("nse.storage").FileStorage(directory)
    enclave = nse.NSE(os.read(0, 32).hex(), storage)

    def work(number: int) -> None:
        enclave.sign(nse.NostrEvent(1, f"note {number}", [], TIME))

    return work, enclave


IMPLEMENTATIONS: dict[str, Callable[[str, str], tuple[Work, Any]]] = {
    "naive": naive,
    "reference": reference,
    "passphrase": passphrase,
    "guarded": guarded,
    "once": once,
    "alone": alone,
    "generate": generating,
    "once without chaff": without_chaff(once),
    "without chaff": without_chaff(partial(enclave, "memfd_secret")),
    "memfd_secret": partial(enclave, "memfd_secret"),
    "mlock": partial(enclave, "mlock"),
    "kept open": kept_open,
}


def main() -> None:
    implementation, directory, threads, peer = sys.argv[1:5]
    work, kept = IMPLEMENTATIONS[implementation](directory, peer)
    done = threading.Barrier(int(threads) + 1)
    over = threading.Event()

    def run() -> None:
        try:
            for number in range(OPERATIONS):
                work(number)
                [bytes(size) for size in range(16, 400)]  # churn: freed blocks are given out again
        except BaseException:
            done.abort()  # the main thread ends, and the parent hears of it
            raise
        done.wait()
        over.wait()  # the threads live on, and so do their stacks

    workers = [threading.Thread(target=run, daemon=True) for _ in range(int(threads))]
    for worker in workers:
        worker.start()
    if not workers:
        for number in range(OPERATIONS):
            work(number)
    done.wait()
    print("ready", flush=True)
    sys.stdin.buffer.read()
    del kept


if __name__ == "__main__":
    main()
