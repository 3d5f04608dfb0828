"""The threads that read: a few, which addresses take turns at.

Nobody waits for another's queries: an address has at most half of the threads, the next query is
that of the address whose turn it is, and a query that is not begun by its deadline fails there.
"""

import asyncio
import queue
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from bunker_relay.store.database.engine import TooSlow

_T = TypeVar("_T")
_COUNT: Final = 4
_PER_KEY: Final = 2


@dataclass(slots=True)
class _Job:
    key: str
    read: Callable[[], Any]
    answer: asyncio.Future[Any]
    expiry: asyncio.TimerHandle | None = None


class Readers:
    """Runs functions in threads; all methods are for the event loop's thread."""

    def __init__(self, count: int = _COUNT, per_key: int = _PER_KEY) -> None:
        self._loop = asyncio.get_running_loop()
        self._free = count
        self._per_key = per_key
        self._waiting: OrderedDict[str, deque[_Job]] = OrderedDict()  # the next key first
        self._running: Counter[str] = Counter()
        # Daemons, of our own: the interpreter waits for every thread of an executor, and a database
        # that does not answer would keep the relay from ending.
        self._work: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._run, name=f"store-reader-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    async def run(self, key: str, read: Callable[[], _T], seconds: float) -> _T:
        """Return what `read` returns, called in a thread when it is the turn of `key`.

        Raises TooSlow when that is not within `seconds`, and what `read` raises.
        """
        job = _Job(key, read, self._loop.create_future())
        self._waiting.setdefault(key, deque()).append(job)
        self._next()
        if job in self._waiting.get(key, ()):
            job.expiry = self._loop.call_later(seconds, self._expire, job)
        result: _T = await job.answer
        return result

    def close(self) -> None:
        """Begin nothing more, and let the threads end."""
        for jobs in self._waiting.values():
            for job in jobs:
                job.answer.cancel()
        self._waiting.clear()
        for _ in self._threads:
            self._work.put(None)

    def _next(self) -> None:
        """Begin what can be begun."""
        for key in list(self._waiting):
            if not self._free:
                return
            if self._running[key] >= self._per_key:
                continue
            jobs = self._waiting.pop(key)  # and back at the end: the others are next
            while jobs:
                job = jobs.popleft()
                if job.expiry is not None:
                    job.expiry.cancel()
                if not job.answer.done():
                    self._free -= 1
                    self._running[key] += 1
                    self._work.put(job)
                    break
            if jobs:
                self._waiting[key] = jobs
        for key in [key for key, count in self._running.items() if not count]:
            del self._running[key]

    def _expire(self, job: _Job) -> None:
        if not job.answer.done():
            job.answer.set_exception(TooSlow())
        jobs = self._waiting.get(job.key)
        if jobs is not None and job in jobs:
            jobs.remove(job)
            if not jobs:
                del self._waiting[job.key]

    def _run(self) -> None:
        while (job := self._work.get()) is not None:
            result: Any = None
            error: BaseException | None = None
            try:
                result = job.read()
            except BaseException as raised:  # noqa: BLE001 -- it is raised where it is awaited
                error = raised
            try:
                self._loop.call_soon_threadsafe(self._done, job, result, error)
            except RuntimeError:  # the loop has ended
                return
            del job, result, error  # an answer may be large, and the next query far

    def _done(self, job: _Job, result: Any, error: BaseException | None) -> None:
        self._free += 1
        self._running[job.key] -= 1
        if not job.answer.done():
            if error is not None:
                job.answer.set_exception(error)
            else:
                job.answer.set_result(result)
        self._next()
