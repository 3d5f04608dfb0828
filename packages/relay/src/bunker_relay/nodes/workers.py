"""Several workers as one relay: a parent that starts them, passes signals on and ends with them.

The parent touches no event. It forks, so that what is loaded is in memory once; a worker that dies
is started again, and its listening socket stays open meanwhile, so clients wait instead of failing.
"""

import contextlib
import os
import secrets
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bunker_core.local.memory import settle
from bunker_relay.logs import defect, log
from bunker_relay.nodes.exclusive import StartError

FOLDER: Final = "workers"  # in the data directory: the sockets between the workers
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_STABLE: Final = 10.0  # seconds; a worker that lived longer is started again at once
_SLOWEST: Final = 5.0  # seconds between two starts of one that fails
_OPENED, _READY, _FAILED, _ALIVE = b"o", b"r", b"f", b"a"
BEAT: Final = 1.0  # seconds between two signs of life of a worker
_HUNG: Final = 8.0  # seconds without one, after which a worker is killed and started again
_KILL_AFTER: Final = 5.0  # seconds beyond the time that a relay takes for its leave


@dataclass(frozen=True, slots=True)
class Worker:
    """One of the workers, as it sees itself."""

    index: int
    count: int
    folder: int  # descriptor of the sockets' directory
    listener: socket.socket
    reload: bool  # whether the configuration was read again since the relay started
    parent: socket.socket  # at its end the parent is gone
    origin: bytes  # what all workers of a relay call it on a bus between hosts

    def opened(self) -> None:
        """Tell the parent that the database is open, so that the others may open it."""
        self._tell(_OPENED)

    def ready(self) -> None:
        """Tell the parent that clients are served."""
        self._tell(_READY)

    def alive(self) -> None:
        """Tell the parent that the event loop turns."""
        self._tell(_ALIVE)

    def failed(self, reason: str) -> None:
        """Tell the parent why there is no relay."""
        self._tell(_FAILED + reason.encode())

    def _tell(self, message: bytes) -> None:
        with contextlib.suppress(OSError):
            # Never waits: a parent that was stopped does not read.
            self.parent.send(message, socket.MSG_DONTWAIT)


@dataclass(slots=True)
class _Child:
    """One of the workers, as the parent sees it."""

    pid: int
    channel: socket.socket
    started_at: float
    heard_at: float  # latest sign of life
    is_open: bool = False
    is_ready: bool = False


@dataclass(slots=True)
class Supervisor:
    """Runs `run` in one process for each listener until SIGTERM or SIGINT.

    `run` serves until it is told to stop. `announce` is called once, when all serve.
    """

    run: Callable[[Worker], None]
    listeners: Sequence[socket.socket]
    data: Path
    shutdown_timeout: float  # seconds that one worker takes to stop
    announce: Callable[[], None]
    _folder: int = -1
    _origin: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    _children: dict[int, _Child] = field(default_factory=dict)  # by index
    _due: dict[int, float] = field(default_factory=dict)  # index: when to start it again
    _delays: dict[int, float] = field(default_factory=dict)  # index: how long it waited last
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _announced: bool = False
    _reloaded: bool = False
    _stop_by: float | None = None  # when to kill whoever is left

    def serve(self) -> None:
        """Run to the end; raises StartError when a worker can't start the first time."""
        self._folder = _open_folder(self.data / FOLDER)
        settle()  # a collection in a worker would copy the pages that it looks at
        signals, wakeup = socket.socketpair()
        for end in (signals, wakeup):
            end.setblocking(False)
        before = signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        self._selector.register(signals, selectors.EVENT_READ)
        try:
            self._start(0)  # alone: it may have to bring the database up to date
            while self._children or self._due:
                for key, _ in self._selector.select(self._wait()):
                    if key.fileobj is signals:
                        for number in signals.recv(4096):
                            self._signalled(number)
                    else:
                        self._hear(key.data)
                self._reap()
                self._act()
        finally:
            for child in self._children.values():
                os.kill(child.pid, signal.SIGKILL)
                os.waitpid(child.pid, 0)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
            self._selector.close()
            signals.close()
            wakeup.close()
            os.close(self._folder)

    def _start(self, index: int) -> None:
        channel, parent = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._due.pop(index, None)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            channel.close()
            self._become(index, parent)
        parent.close()
        now = time.monotonic()
        child = self._children[index] = _Child(pid, channel, now, now)
        self._selector.register(channel, selectors.EVENT_READ, (index, child))

    def _become(self, index: int, parent: socket.socket) -> None:
        """Be a worker, and never return."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in _SIGNALS:
                # A reload that comes before the worker can take it is one that it has done.
                ignore = number == signal.SIGHUP
                signal.signal(number, signal.SIG_IGN if ignore else signal.SIG_DFL)
            self._selector.close()
            for child in self._children.values():
                child.channel.close()
            for other, listener in enumerate(self.listeners):
                if other != index:
                    listener.close()
            worker = Worker(
                index,
                len(self.listeners),
                self._folder,
                self.listeners[index],
                self._reloaded,
                parent,
                self._origin,
            )
            try:
                self.run(worker)
            except StartError as error:
                worker.failed(str(error))
            except Exception as error:  # noqa: BLE001 -- the parent starts it again
                defect("a worker failed", error)
            else:
                code = 0
        finally:
            with contextlib.suppress(OSError):
                sys.stderr.flush()
            os._exit(code)  # what the parent has open is the parent's to close

    def _wait(self) -> float | None:
        times = [*self._due.values(), *([] if self._stop_by is None else [self._stop_by])]
        if self._stop_by is None:
            times += [child.heard_at + _HUNG for child in self._children.values() if child.is_ready]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _signalled(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._reloaded = True
            self._pass_on(signal.SIGHUP)
        elif number in (signal.SIGTERM, signal.SIGINT) and self._stop_by is None:
            self._stop()

    def _stop(self) -> None:
        self._stop_by = time.monotonic() + self.shutdown_timeout + _KILL_AFTER
        self._due.clear()
        self._pass_on(signal.SIGTERM)

    def _pass_on(self, number: int) -> None:
        for child in self._children.values():
            os.kill(child.pid, number)

    def _hear(self, source: tuple[int, _Child]) -> None:
        _, child = source
        message = child.channel.recv(4096)
        child.heard_at = time.monotonic()
        if message == _ALIVE:
            return
        if message == _OPENED:
            child.is_open = True
        elif message == _READY:
            child.is_ready = True
        elif message:
            reason = message[1:].decode()
            if not self._announced:
                raise StartError(reason)
            log.error("a worker can't start", reason=reason)
        else:
            self._selector.unregister(child.channel)

    def _reap(self) -> None:
        for index, child in list(self._children.items()):
            if os.waitpid(child.pid, os.WNOHANG)[0] == 0:
                continue
            while child.channel in self._selector.get_map():  # its last words
                self._hear((index, child))
            child.channel.close()
            del self._children[index]
            if self._stop_by is not None:
                continue
            if not self._announced:
                raise StartError("a worker ended while it started")
            log.error("a worker ended and is started again", worker=index)
            lived = time.monotonic() - child.started_at
            delay = 0.0 if lived > _STABLE else self._delays.get(index, 0.0)
            self._due[index] = time.monotonic() + delay
            self._delays[index] = min(_SLOWEST, delay * 2 or 0.1)

    def _act(self) -> None:
        now = time.monotonic()
        if self._stop_by is not None:
            if now >= self._stop_by:
                self._pass_on(signal.SIGKILL)
            return
        for index, child in self._children.items():
            if child.is_ready and now - child.heard_at >= _HUNG:
                log.error(
                    "a worker does not answer: it is killed and started again",
                    worker=index,
                    silent_seconds=round(now - child.heard_at, 1),
                )
                child.is_ready = False  # once
                os.kill(child.pid, signal.SIGKILL)
        for index in [index for index, due in self._due.items() if due <= now]:
            self._start(index)
        if len(self._children) == 1 and not self._announced and self._children[0].is_open:
            for index in range(1, len(self.listeners)):
                self._start(index)
        if not self._announced and len(self._children) == len(self.listeners):
            self._announced = all(child.is_ready for child in self._children.values())
            if self._announced:
                self.announce()


def _open_folder(path: Path) -> int:
    """Return a descriptor of the sockets' directory, which only its owner may enter."""
    path.mkdir(mode=0o700, exist_ok=True)
    path.chmod(0o700)
    if path.stat().st_uid != os.geteuid():
        raise StartError(f"{path} belongs to somebody else; remove it")
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)
