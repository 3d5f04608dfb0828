"""An event loop on a thread of its own, for code that has none or another kind."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Final, Self, TypeVar

TIMEOUT: Final = 30.0  # seconds; nothing here takes more than a fraction of one

_T = TypeVar("_T")


class LoopThread:
    """Runs coroutines for other threads until the context ends."""

    def __init__(self) -> None:
        self._thread = threading.Thread(target=self._main, name="bunker-testbed", daemon=True)
        self._running: Future[asyncio.AbstractEventLoop] = Future()

    def __enter__(self) -> Self:
        self._thread.start()
        self._running.result(TIMEOUT)
        return self

    def __exit__(self, *_: object) -> None:
        loop = self._running.result()
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join(TIMEOUT)

    def run(self, coroutine: Coroutine[Any, Any, _T], timeout: float = TIMEOUT) -> _T:
        """Return what `coroutine` returns; raises what it raises, and TimeoutError."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._running.result())
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise

    def _main(self) -> None:
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            self._running.set_result(loop)
            loop.run_forever()
