"""May this key be used? The one owner of that: locked, unlocked, paused, and what outlives a run.

The Unix socket, the console, the idle time and a panic all go through here, so that none of them
can forget what another one knows. A lock wipes first and writes down afterwards. An unlock takes
time, in a thread, and holds only if nothing has locked the key since it began.
"""

import asyncio
import time
from collections.abc import Callable
from enum import Enum
from typing import Final

from bunker_core.errors import BunkerError
from bunker_signer.nse import NSE
from bunker_signer.store import Database, audit_log, settings


class KeyState(Enum):
    """What the owner lets a key do."""

    UNLOCKED = "unlocked"
    LOCKED = "locked"  # requests wait for the unlock
    PAUSED = "paused"  # requests are answered with an error


# Who locks when it is not the owner.
IDLE: Final = "idle"
SILENCE: Final = "no sign of the owner"
BY_ITSELF: Final = (IDLE, SILENCE)


class AccessError(BunkerError):
    """The key's state does not allow it; the text is for the owner."""


def steady_seconds() -> float:
    """Return seconds that only ever go up, and go on while the machine sleeps where it can tell.

    A laptop that was shut for a night has been idle for a night.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Panicked(AccessError):
    """After a panic only the command on the machine unlocks."""


class Access:
    """The state of one user key. All methods are for the event loop.

    `by` says who it was, for the audit log.
    """

    def __init__(
        self,
        name: str,
        user: NSE,
        database: Database,
        *,
        auto_lock: float | None = None,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = steady_seconds,
    ) -> None:
        """Take up the state that an earlier run left; raises StoreError.

        `auto_lock` is the idle time in seconds after which `lock_if_idle` locks; it is counted on
        `steady`, which setting the clock does not change.
        """
        self.auto_lock: Final = auto_lock
        self._name = name
        self._user = user
        self._database = database
        self._clock = clock
        self._steady = steady
        self._used_at = steady()
        self.on_owner: Callable[[], None] = lambda: None  # called for what the owner does here
        self._after_panic = False  # in this run; the database has it for the next
        self._generation = 0  # of locks: an unlock in flight has to match it
        self._waiting = 0
        self._changed = asyncio.Event()
        with database.read() as connection:
            kept = settings.get_key_state(connection, name)
        self._state = KeyState(kept) if kept else KeyState.UNLOCKED
        if user.locked:
            self._state = KeyState.LOCKED
        elif self._state is KeyState.LOCKED:
            user.lock()

    @property
    def state(self) -> KeyState:
        return self._state

    @property
    def waiting(self) -> int:
        """How many requests wait for another state."""
        return self._waiting

    def lock(self, by: str) -> None:
        """Wipe what opens the key; requests wait for the unlock. Raises StoreError.

        The key is locked then all the same, until the end of this run.
        """
        self.shut()
        self._keep("lock", by)

    async def unlock(self, open_key: Callable[[], None], by: str, *, on_machine: bool) -> None:
        """Open the key by `open_key`, which is run in a thread: a passphrase takes its time.

        `on_machine` says that it was asked for by a command on the signer's machine; after a panic
        nobody else may. Raises AccessError, StoreError and what `open_key` raises; the key is
        locked then.
        """
        if not on_machine and self._panicked():
            raise Panicked("after a panic only `bunker signer unlock` on the machine unlocks")
        generation = self._generation
        await asyncio.to_thread(open_key)
        if generation != self._generation:
            self._user.lock()
            raise AccessError("the key was locked meanwhile, and stays so: unlock it again")
        try:
            self._keep("unlock", by, state=KeyState.UNLOCKED, ends_panic=on_machine)
        except BaseException:
            self.shut()
            raise
        self._after_panic = False
        self._set(KeyState.UNLOCKED)

    def pause(self, by: str) -> None:
        """Have requests refused until `resume`; raises AccessError and StoreError."""
        if self._state is KeyState.LOCKED:
            raise AccessError(f"the key {self._name} is locked, which is more than paused")
        self._generation += 1
        self._set(KeyState.PAUSED)
        self._keep("pause", by)

    def resume(self, by: str) -> None:
        """End a pause, if there is one; raises StoreError."""
        if self._state is KeyState.PAUSED:
            self._keep("resume", by, state=KeyState.UNLOCKED)
            self._set(KeyState.UNLOCKED)

    def shut(self, *, after_panic: bool = False) -> None:
        """Lock for this run without a word in the database; cannot fail.

        For a panic, which writes it down for all keys at once, and for a key whose slots another
        process changed.
        """
        self._generation += 1
        self._after_panic = self._after_panic or after_panic
        self._set(KeyState.LOCKED)
        self._user.lock()

    def idle_left(self) -> float | None:
        """Return the seconds until the key has been idle for too long; None if it never is."""
        if self.auto_lock is None or self._state is not KeyState.UNLOCKED:
            return None
        return max(0.0, self._used_at + self.auto_lock - self._steady())

    def lock_if_idle(self) -> bool:
        """Lock a key that was idle for too long; return whether it was. Raises StoreError."""
        if self.idle_left() != 0:
            return False
        self.lock(IDLE)
        return True

    def touch(self) -> None:
        """Note a use of the key."""
        self._used_at = self._steady()

    async def wait_while(self, state: KeyState) -> None:
        """Return when the key is in another state."""
        self._waiting += 1
        try:
            while self._state is state:
                await self._changed.wait()
        finally:
            self._waiting -= 1

    def _set(self, state: KeyState) -> None:
        self._used_at = self._steady()
        if state is not self._state:
            self._state = state
            self._changed.set()
            self._changed = asyncio.Event()

    def _panicked(self) -> bool:
        with self._database.read() as connection:
            return self._after_panic or settings.is_panicked(connection)

    def _keep(
        self, action: str, by: str, state: KeyState | None = None, *, ends_panic: bool = False
    ) -> None:
        """Write down the state, which the next run takes up, and who brought it about."""
        kept = state or self._state
        with self._database.write() as connection:
            text = None if kept is KeyState.UNLOCKED else kept.value
            settings.set_key_state(connection, self._name, text)
            if ends_panic:
                settings.set_panicked(connection, panicked=False)
            audit_log.append(connection, int(self._clock()), action, self._name, decided_by=by)
        if by not in BY_ITSELF:
            self.on_owner()
