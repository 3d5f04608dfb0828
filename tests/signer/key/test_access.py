"""key/access.py: one owner of whether a key may be used, whoever locks and unlocks it."""

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from bunker_signer.key.access import (
    SILENCE,
    Access,
    AccessError,
    KeyState,
    Panicked,
    steady_seconds,
)
from bunker_signer.key.keystore import KeyStore
from bunker_signer.key.panic import revoke_everything
from bunker_signer.nse import NSE, NSEError
from bunker_signer.service.panic import panic
from bunker_signer.store import Database, StoreError, audit_log, settings
from bunker_signer.store.accounts import FILE_NAME, Accounts, Passkey
from signer.request.support.rig import rig

NOW = 1_700_000_000


class Hours:
    """A clock that goes by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Key:
    """A sealed key in a directory, its access, and what opens it."""

    def __init__(self, data: Path, auto_lock: float | None = None) -> None:
        data.mkdir(exist_ok=True)
        self.keystore = KeyStore(data, None)
        (pair,) = self.keystore.open()
        self.user: NSE = pair.user
        self._transport = pair.transport
        self.database = Database(data / "signer.sqlite3")
        self.wall, self.steady = Hours(), Hours()
        self.access = Access(
            "default",
            self.user,
            self.database,
            auto_lock=auto_lock,
            clock=self.wall,
            steady=self.steady,
        )

    @property
    def open_it(self) -> Callable[[], None]:
        return partial(self.keystore.unlock, self.user, None)

    def state(self) -> KeyState:
        return self.access.state

    def audit(self) -> list[tuple[str, str]]:
        with self.database.read() as connection:
            return [(item.action, item.decided_by) for item in audit_log.entries(connection)]

    def close(self) -> None:
        self.user.close()
        self._transport.close()
        self.database.close()


@pytest.fixture
def key(data: Path) -> Key:
    return Key(data)


@pytest.mark.parametrize("how", ["lock", "shut", "panic", "pause"])
async def test_an_unlock_that_was_overtaken_does_not_hold(how: str, key: Key) -> None:
    """Whatever locks or pauses while the passphrase is tried has the last word."""
    begun, go_on = threading.Event(), threading.Event()

    def slowly() -> None:
        begun.set()
        assert go_on.wait(10)
        key.open_it()

    if how != "pause":
        key.access.lock("test")
    unlocking = asyncio.create_task(key.access.unlock(slowly, "test", on_machine=True))
    await asyncio.to_thread(begun.wait, 10)
    match how:
        case "lock":
            key.access.lock("test")
        case "shut":
            key.access.shut()
        case "pause":
            key.access.pause("test")
        case "panic":
            key.access.shut(after_panic=True)
            revoke_everything(key.database, ["default"], "test", NOW)
    go_on.set()
    with pytest.raises(AccessError, match="was locked meanwhile"):
        await unlocking
    assert key.access.state is not KeyState.UNLOCKED
    assert key.user.locked
    assert ("unlock", "test") not in key.audit()
    key.close()


@pytest.mark.parametrize("how", ["owner", "idle"])
async def test_a_lock_outlives_a_restart(how: str, data: Path) -> None:
    """The owner's and the idle one: who finds the machine on does not find the key open."""
    key = Key(data, auto_lock=60)
    if how == "owner":
        key.access.lock("test")
    else:
        key.steady.seconds += 60
        assert key.access.lock_if_idle()
    key.close()
    again = Key(data)
    assert again.access.state is KeyState.LOCKED
    assert again.user.locked
    await again.access.unlock(again.open_it, "test", on_machine=False)
    again.close()
    third = Key(data)
    assert third.access.state is KeyState.UNLOCKED
    third.close()


def test_idle_time_is_not_the_wall_clocks(data: Path) -> None:
    """The clock set back an hour changes nothing; a use counts anew."""
    key = Key(data, auto_lock=60)
    key.wall.seconds -= 3600
    key.steady.seconds += 59
    assert key.access.idle_left() == 1
    assert not key.access.lock_if_idle()
    key.access.touch()
    assert key.access.idle_left() == 60
    key.steady.seconds += 60
    assert key.access.lock_if_idle()
    assert key.audit() == [("lock", "idle")]
    assert key.access.idle_left() is None
    key.close()


def test_a_lock_that_can_t_be_written_locks(key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is wiped first; then the owner is told that the next run won't know of it."""
    monkeypatch.setattr(settings, "set_key_state", _fails)
    with pytest.raises(StoreError):
        key.access.lock("test")
    assert key.access.state is KeyState.LOCKED
    assert key.user.locked
    key.close()


async def test_an_unlock_that_can_t_be_written_does_not_unlock(
    key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is told of an unlock that failed, and the key is wiped again."""
    key.access.lock("test")
    monkeypatch.setattr(settings, "set_key_state", _fails)
    with pytest.raises(StoreError):
        await key.access.unlock(key.open_it, "test", on_machine=True)
    assert key.access.state is KeyState.LOCKED
    assert key.user.locked
    key.close()


async def test_a_pause_outlives_a_restart_and_ends_with_resume(data: Path) -> None:
    """Both are written down with who it was; without a pause there is nothing to resume."""
    key = Key(data)
    key.access.resume("nobody")
    key.access.pause("test")
    assert key.state() is KeyState.PAUSED
    assert not key.user.locked
    key.close()
    again = Key(data)
    assert again.state() is KeyState.PAUSED
    again.access.resume("test")
    assert again.state() is KeyState.UNLOCKED
    assert again.audit() == [("pause", "test"), ("resume", "test")]
    again.close()
    third = Key(data)
    assert third.state() is KeyState.UNLOCKED
    third.access.lock("test")
    with pytest.raises(AccessError, match="is locked, which is more than paused"):
        third.access.pause("test")
    third.access.resume("test")
    assert third.state() is KeyState.LOCKED
    third.close()


async def test_whoever_waits_for_another_state_is_counted_and_let_go(key: Key) -> None:
    """Each of them when it changes, and none before; one that gives up counts no more."""
    key.access.lock("test")
    waiting = [asyncio.create_task(key.access.wait_while(KeyState.LOCKED)) for _ in range(3)]
    await asyncio.sleep(0)
    assert key.access.waiting == 3
    waiting.pop().cancel()
    await asyncio.sleep(0)
    assert key.access.waiting == 2
    assert not any(task.done() for task in waiting)
    await key.access.unlock(key.open_it, "test", on_machine=True)
    async with asyncio.timeout(10):
        await asyncio.gather(*waiting)
        await key.access.wait_while(KeyState.LOCKED)
    assert key.access.waiting == 0
    key.access.lock("test")  # and again, for those that come later
    later = asyncio.create_task(key.access.wait_while(KeyState.LOCKED))
    await asyncio.sleep(0)
    assert key.access.waiting == 1
    await key.access.unlock(key.open_it, "test", on_machine=True)
    async with asyncio.timeout(10):
        await later
    key.close()


async def test_a_panic_holds_until_the_machine_unlocks(key: Key) -> None:
    """Also one that could not be written down, and whatever locks after it."""
    key.access.shut(after_panic=True)
    key.access.shut()
    key.access.lock("test")
    with pytest.raises(Panicked):
        await key.access.unlock(key.open_it, "console: x", on_machine=False)
    assert key.user.locked
    await key.access.unlock(key.open_it, "shell", on_machine=True)
    key.access.lock("test")
    await key.access.unlock(key.open_it, "console: x", on_machine=False)
    revoke_everything(key.database, ["default"], "test", NOW)
    key.access.pause("test")
    key.access.lock("test")
    with pytest.raises(Panicked):
        await key.access.unlock(key.open_it, "console: x", on_machine=False)
    key.close()


async def test_what_the_owner_does_is_a_sign_of_them(data: Path) -> None:
    """A lock for idleness is none, and neither is one for want of such signs."""
    key, signs = Key(data, auto_lock=60), 0

    def seen() -> None:
        nonlocal signs
        signs += 1

    key.access.on_owner = seen
    key.access.pause("test")
    key.access.resume("test")
    assert signs == 2
    key.steady.seconds += 60
    assert key.access.lock_if_idle()
    key.access.lock(SILENCE)
    assert signs == 2
    await key.access.unlock(key.open_it, "test", on_machine=True)
    assert signs == 3
    key.steady.seconds += 59
    key.access.pause("test")
    key.access.resume("test")
    assert key.access.idle_left() == 60  # it counts from there
    key.close()


def test_a_key_that_nobody_opened_is_locked(key: Key) -> None:
    """Whatever the database says: a passphrase has to be given first."""
    key.user.lock()
    assert Access("default", key.user, key.database).state is KeyState.LOCKED
    key.close()


def test_a_night_asleep_is_a_night(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock goes on while the machine sleeps, where the system has one that does."""
    with monkeypatch.context() as patch:
        patch.setattr(time, "CLOCK_BOOTTIME", 7, raising=False)
        patch.setattr(time, "clock_gettime", {7: 28_800.0}.__getitem__, raising=False)
        assert steady_seconds() == 28_800
        patch.delattr(time, "CLOCK_BOOTTIME")
        before = time.monotonic()
        assert before <= steady_seconds() <= time.monotonic()


def _fails(*_: object) -> None:
    raise StoreError("the disk is full")


async def test_a_wrong_key_leaves_it_locked(key: Key) -> None:
    """What can't be opened is an error for who asked, and the key stays as it was."""
    key.access.lock("test")
    opening = partial(key.keystore.unlock, key.user, bytearray(b"wrong"))
    with pytest.raises(NSEError):
        await key.access.unlock(opening, "test", on_machine=True)
    assert key.access.state is KeyState.LOCKED
    key.close()


async def test_after_a_panic_only_the_machine_unlocks(relay_url: str, data: Path) -> None:
    """A thief's devices, links, passkeys and choice are gone, and no page opens the key again."""
    data.mkdir()
    accounts = Accounts(data / FILE_NAME)
    device = accounts.bind(accounts.new_link(NOW), "the thief's", NOW)
    link = accounts.new_link(NOW)
    accounts.add_passkey(Passkey(b"id", b"key", 0, "the thief's", NOW))
    accounts.set_confirm(True)
    async with rig(relay_url, data) as signer, signer.client():
        counts = panic(signer.agent, signer.service.inbox, data, "test")
        assert (counts["sessions"], counts["devices"], counts["passkeys"]) == (1, 1, 1)
        assert device is not None
        assert accounts.device(device, NOW) is None
        assert accounts.bind(link, "the thief's second", NOW) is None
        assert (accounts.devices(), accounts.passkeys(), accounts.confirm) == ((), (), False)
    for again in range(2):  # after a restart too
        async with rig(relay_url, data) as signer:
            access = signer.identity.access
            opening = partial(signer.service.keystore.unlock, signer.identity.user, None)
            if again == 0:
                assert access.state is KeyState.LOCKED
                with pytest.raises(AccessError, match="only `bunker signer unlock`"):
                    await access.unlock(opening, "console: x", on_machine=False)
                assert signer.identity.user.locked
                await access.unlock(opening, "shell", on_machine=True)
                access.lock("console: x")
            await access.unlock(opening, "console: x", on_machine=False)
            assert access.state is KeyState.UNLOCKED
    accounts.close()


async def test_a_panic_wipes_whatever_fails(
    relay_url: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full: every key is locked in memory all the same, and the failure is told."""
    async with rig(relay_url, data, keys=("default", "work")) as signer:
        with monkeypatch.context() as patch:
            patch.setattr(settings, "set_key_state", _fails)
            with pytest.raises(StoreError):
                panic(signer.agent, signer.service.inbox, data, "test")
        for identity in signer.service.identities:
            assert identity.state is KeyState.LOCKED
            assert identity.user.locked
