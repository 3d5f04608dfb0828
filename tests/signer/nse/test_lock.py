"""Locking: by hand, by time, after wrong secrets, from another terminal; and the async face."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from bunker_core.event import EventTemplate, verify
from bunker_core.keys import SecretKey
from bunker_core.nips import nip49
from bunker_signer.nse import NSE, AsyncNSE, MemoryStorage, NSEError, NSEErrorCode
from bunker_signer.nse.attempts import FREE, MAX_WAIT, Attempts
from bunker_signer.nse.memory import MemoryLevel
from bunker_signer.nse.wrap.master_key import MasterKey
from bunker_signer.nse.wrap.passphrase import Argon2, Passphrase

MASTER = "5f" * 32
CHEAP = Argon2(memory_kib=8, passes=1)
EVENT = EventTemplate(1, "hello", (), 1700000000)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def right() -> Iterator[Passphrase]:
    protector = Passphrase("right", CHEAP)
    yield protector
    protector.close()


@pytest.fixture
def wrong() -> Iterator[Passphrase]:
    protector = Passphrase("wrong", CHEAP)
    yield protector
    protector.close()


@pytest.fixture
def storage(right: Passphrase) -> MemoryStorage:
    """A storage with a key that a passphrase opens."""
    made = MemoryStorage()
    with NSE(storage=made, protector=right) as nse:
        nse.generate()
    return made


def refused(nse: NSE, code: NSEErrorCode = NSEErrorCode.AUTH_FAILED) -> str:
    with pytest.raises(NSEError) as raised:
        nse.sign(EVENT)
    assert raised.value.code is code
    return str(raised.value)


def test_lock_and_unlock(storage: MemoryStorage, right: Passphrase) -> None:
    """A locked key does nothing, though its public half is known, until it is unlocked."""
    peer = SecretKey.generate().pubkey
    with NSE(storage=storage) as nse:
        assert nse.locked
        nse.unlock(right)
        assert not nse.locked
        verify(nse.sign(EVENT))
        payload = nse.nip44_encrypt(peer, "text")
        nse.lock()
        assert nse.locked
        assert "unlock" in refused(nse)
        for call in (
            lambda: nse.nip44_decrypt(peer, payload),
            lambda: nse.export_ncryptsec("x"),
            lambda: nse.shared_x(peer),
            lambda: nse.rotate(right),
            lambda: nse.add_slot(right),
        ):
            with pytest.raises(NSEError) as raised:
                call()
            assert raised.value.code is NSEErrorCode.AUTH_FAILED
        assert nse.get_public_key()
        nse.unlock(right)
        assert nse.nip44_decrypt(peer, payload) == "text"


def test_lock_drops_the_master_key() -> None:
    """An enclave that was made with a master key does not open again by itself after a lock."""
    with NSE(MASTER) as nse:
        nse.generate()
        nse.lock()
        refused(nse)
        assert not nse._vault.page.view.tobytes().strip(b"\0")
        nse.unlock(MasterKey(MASTER))
        verify(nse.sign(EVENT))


@pytest.mark.parametrize("end", ["lock", "close"])
def test_a_key_that_stays_open_is_wiped_in_the_end(end: str) -> None:
    """`keep_open` lasts until `lock` or `close`; after a lock nothing of it is in the page."""
    nse = NSE("ab" * 32)
    nse.generate()
    nse.keep_open()
    nse.sign(EventTemplate(1))
    assert any(nse._vault.secret)
    if end == "lock":
        nse.lock()
        assert not any(nse._vault.page.view)
        with pytest.raises(NSEError):
            nse.sign(EventTemplate(1))
    nse.close()
    assert not nse._vault.page.alive
    with pytest.raises(NSEError):
        nse.sign(EventTemplate(1))


def test_in_memory_that_is_not_locked_no_key_stays_open() -> None:
    """Where the page could be swapped out, the key is in it for one operation at a time."""
    with pytest.warns(RuntimeWarning):
        nse = NSE("ab" * 32, memory=MemoryLevel.PLAIN)
    with nse:
        nse.generate()
        nse.keep_open()
        nse.sign(EventTemplate(1))
        assert not any(nse._vault.secret)


def test_a_key_that_stays_open_is_gone_with_its_file() -> None:
    """What another process removed from the storage signs no more, though it lies in the page."""
    storage = MemoryStorage()
    with NSE("ab" * 32, storage) as nse, NSE("ab" * 32, storage) as other:
        nse.generate()
        nse.keep_open()
        nse.sign(EventTemplate(1))
        other.destroy()
        with pytest.raises(NSEError):
            nse.sign(EventTemplate(1))
        assert not any(nse._vault.page.view)


def test_generate_needs_a_protector() -> None:
    """Without anything to guard it no key is made."""
    with NSE() as nse, pytest.raises(NSEError) as raised:
        nse.generate()
    assert raised.value.code is NSEErrorCode.AUTH_FAILED


def test_import_into_a_locked_enclave_leaves_nothing() -> None:
    """A key that can't be sealed, since nothing is there to seal it with, is wiped."""
    secret = bytearray(32)
    SecretKey.generate().copy_secret(secret)
    with NSE() as nse:
        with pytest.raises(NSEError) as raised:
            nse.import_key(secret)
        assert raised.value.code is NSEErrorCode.AUTH_FAILED
        assert not any(secret)
        assert not any(nse._vault.page.view)


def test_wrong_secret_leaves_it_locked(
    storage: MemoryStorage, right: Passphrase, wrong: Passphrase
) -> None:
    """A wrong passphrase opens nothing, and closes what was open."""
    before = storage.get("nse:blob")
    with NSE(storage=storage) as nse:
        nse.unlock(right)
        with pytest.raises(NSEError) as raised:
            nse.unlock(wrong)
        assert raised.value.code is NSEErrorCode.AUTH_FAILED
        assert nse.locked
        refused(nse)
    assert storage.get("nse:blob") == before


def test_idle_key_locks_itself(storage: MemoryStorage, right: Passphrase, clock: Clock) -> None:
    """After the idle time the key is locked; each use begins it anew."""
    with NSE(storage=storage, auto_lock=60, clock=clock) as nse:
        nse.unlock(right)
        for _ in range(3):
            clock.now += 59
            verify(nse.sign(EVENT))
        clock.now += 60
        refused(nse)
        nse.unlock(right)
        verify(nse.sign(EVENT))


def test_idle_key_is_wiped_though_nobody_asks(storage: MemoryStorage, right: Passphrase) -> None:
    """The data key goes when the time is over, not when the next caller comes."""
    with NSE(storage=storage, auto_lock=0.05) as nse:
        nse.unlock(right)
        timers = [thread for thread in threading.enumerate() if thread.name == "nse-auto-lock"]
        while timers:  # one that woke early is followed by another
            for timer in timers:
                timer.join()
            timers = [thread for thread in threading.enumerate() if thread.name == "nse-auto-lock"]
        assert nse.locked
        assert not nse._vault.page.view.tobytes().strip(b"\0")


def test_closing_stops_the_timer(storage: MemoryStorage, right: Passphrase) -> None:
    """A closed enclave leaves no thread behind."""
    with NSE(storage=storage, auto_lock=3600) as nse:
        nse.unlock(right)
        timer = next(thread for thread in threading.enumerate() if thread.name == "nse-auto-lock")
    timer.join(10)
    assert not timer.is_alive()


def test_guessing_is_slowed_down(
    storage: MemoryStorage, right: Passphrase, wrong: Passphrase, clock: Clock
) -> None:
    """After three wrong passphrases even the right one has to wait, longer each time."""
    with NSE(storage=storage, clock=clock) as nse:
        for _ in range(FREE):
            with pytest.raises(NSEError):
                nse.unlock(wrong)
        with pytest.raises(NSEError, match="wait 1 s"):
            nse.unlock(right)
        clock.now += 1
        with pytest.raises(NSEError, match="does not open"):
            nse.unlock(wrong)
        with pytest.raises(NSEError, match="wait 2 s"):
            nse.unlock(right)
        clock.now += 2
        nse.unlock(right)
        verify(nse.sign(EVENT))
        with pytest.raises(NSEError, match="does not open"):
            nse.unlock(wrong)
        nse.unlock(right)


def test_wait_is_bounded(clock: Clock) -> None:
    """However many attempts fail, the owner waits five minutes at most."""
    attempts = Attempts(clock)
    for _ in range(1000):
        attempts.failed()
    with pytest.raises(NSEError, match=f"wait {MAX_WAIT} s"):
        attempts.check()
    clock.now += MAX_WAIT
    attempts.check()


def test_ncryptsec_round_trip(right: Passphrase) -> None:
    """A backup restores the same key elsewhere; a wrong passphrase restores nothing."""
    with NSE(MASTER) as nse:
        pubkey = nse.generate().pubkey
        text = nse.export_ncryptsec("backup", log_n=4)
        with pytest.raises(NSEError) as raised:
            nse.export_ncryptsec("backup", log_n=99)
        assert raised.value.code is NSEErrorCode.SIGN_FAILED
    out = bytearray(32)
    nip49.decrypt(text, "backup", out)
    assert SecretKey(out).pubkey == pubkey
    with NSE(protector=right) as nse:
        for bad, passphrase in ((text, "wrong"), ("ncryptsec1", "backup"), (text[:-1], "backup")):
            with pytest.raises(NSEError) as raised:
                nse.import_ncryptsec(bad, passphrase)
            assert raised.value.code is NSEErrorCode.DECRYPTION_FAILED
            assert not nse.exists()
        assert nse.import_ncryptsec(text, "backup").pubkey == pubkey
        assert nse.sign(EVENT).pubkey == pubkey


async def test_async_does_not_stop_the_loop(storage: MemoryStorage, right: Passphrase) -> None:
    """While the key is being opened, which a slow protector may delay, the event loop runs on."""
    entered, proceed = threading.Event(), threading.Event()

    class Slow:
        type, hardware, device_bound = right.type, False, False

        def create(self, pubkey: str, key: memoryview) -> dict[str, str | int]:
            raise AssertionError

        def recover(self, pubkey: str, params: dict[str, str | int], key: memoryview) -> None:
            entered.set()
            proceed.wait()
            right.recover(pubkey, params, key)

    async with AsyncNSE(NSE(storage=storage)) as nse:
        unlocking = asyncio.create_task(nse.unlock(Slow()))  # type: ignore[arg-type]
        await asyncio.to_thread(entered.wait)
        assert not unlocking.done()
        proceed.set()
        await unlocking
        verify(await nse.sign(EVENT))


async def test_async_has_every_method(right: Passphrase) -> None:
    """All that the enclave does is there for an event loop."""
    here, there = (
        {name for name in dir(kind) if not name.startswith("_")} for kind in (NSE, AsyncNSE)
    )
    assert here == there
    peer = SecretKey.generate()
    nse = AsyncNSE(NSE(MASTER))
    assert not await nse.exists()
    info = await nse.generate(recovery=right)
    assert await nse.info() == info
    assert (await nse.get_public_key(), await nse.get_npub()) == (info.pubkey, info.npub)
    assert await nse.nip44_decrypt(peer.pubkey, await nse.nip44_encrypt(peer.pubkey, "a")) == "a"
    assert await nse.nip04_decrypt(peer.pubkey, await nse.nip04_encrypt(peer.pubkey, "a")) == "a"
    assert len(await nse.conversation_key(peer.pubkey)) == 32
    assert await nse.shared_x(peer.pubkey) == peer.shared_x(info.pubkey)
    out = bytearray(32)
    await nse.export_secret(out)
    assert SecretKey(out).pubkey == info.pubkey
    await nse.rotate(right)
    await nse.remove_slot("k1")
    assert [slot.type for slot in await nse.slots()] == ["passphrase"]
    await nse.lock()
    assert nse.locked
    await nse.unlock(right)
    await nse.add_slot(right)
    text = await nse.export_ncryptsec("x", log_n=4)
    await nse.destroy()
    assert nse.name == "default"
    assert nse.memory_level
    with pytest.raises(NSEError):
        await nse.import_ncryptsec(text, "x")  # locked: nothing to seal it with
    await nse.close()
    with pytest.raises(NSEError):
        await nse.sign(EVENT)
    async with AsyncNSE(NSE(MASTER)) as nse:
        secret = bytearray(32)
        peer.copy_secret(secret)
        await nse.import_key(secret, blob_version=1)
        await nse.migrate(recovery=right)
        await nse.destroy()
        await nse.import_ncryptsec(text, "x")
    public = {name for name in dir(NSE) if not name.startswith("_")}
    assert public <= set(dir(AsyncNSE))
