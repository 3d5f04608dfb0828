"""The cases as tests of another project: what the fixtures of `bunker.pytest_plugin` give."""

from contextlib import AsyncExitStack
from typing import Any, Final, Self

import pytest

from bunker.conformance import client, relay, signer
from bunker.conformance.case import Case, Level, Result, Verdict
from bunker.conformance.client import kit as clients
from bunker.conformance.relay import kit as relays
from bunker.conformance.report.run import COUNTED, explain
from bunker.conformance.run import PATIENCE, MakeKit, judge
from bunker.conformance.signer import kit as signers
from bunker.conformance.signer.source import Commanded, Owned
from bunker.testbed.thread import LoopThread

CASES: Final = {"relay": relay.CASES, "signer": signer.CASES, "client": client.CASES}
_LIMIT: Final = 120.0  # seconds for one case, its start included


class Bench:
    """Runs cases on a loop of its own; a target that is started serves all tests of a session."""

    def __init__(self) -> None:
        self._thread = LoopThread()
        self._stack = AsyncExitStack()
        self._kits: dict[tuple[Any, ...], MakeKit] = {}

    def __enter__(self) -> Self:
        self._thread.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._thread.run(self._stack.aclose())
        finally:
            self._thread.__exit__()

    def judge(self, case: Case, target: tuple[str, ...], patience: float) -> Result:
        """Run one case; raises an Outcome when the target can't be started."""

        async def one() -> Result:
            return await judge(case, await self._kit(case.kind, target, patience))

        return self._thread.run(one(), _LIMIT)

    async def _kit(self, kind: str, target: tuple[str, ...], patience: float) -> MakeKit:
        name = (kind, target, patience)
        if name not in self._kits:
            running: Any
            match kind:
                case "relay":
                    running = relays.running(relays.Target(target[0], target[1:], patience))
                case "signer":
                    owned = target[0].startswith("bunker:")
                    source = Owned(list(target)) if owned else Commanded(target)
                    running = signers.running(signers.Target(source, patience))
                case _:
                    running = clients.running(clients.Target(target, patience))
            self._kits[name] = await self._stack.enter_async_context(running)
        return self._kits[name]


class CaseTest:
    """One case, to be called with the target: a test in one line."""

    def __init__(self, case: Case, bench: Bench) -> None:
        self.case = case
        self._bench = bench

    def __call__(
        self, *target: str, level: str = Level.SHOULD.value, patience: float = PATIENCE
    ) -> None:
        """Judge a relay's URL (with a command after it, if the test is to start it), a signer's
        bunker:// URIs or command, or a client's command.

        Fails the test for a case of `level` or a stronger one that the target does wrongly; skips
        it with a reason where nothing can be said, or where it is weaker.
        """
        result = self._bench.judge(self.case, target, patience)
        if result.verdict is Verdict.PASS:
            return
        if result.convicts and self.case.level in COUNTED[Level(level)]:
            pytest.fail(explain(result), pytrace=False)
        pytest.skip(f"{result.verdict.value}: {result.reason}")


def parameters(kind: str) -> list[Any]:
    """Return the cases of a kind, each under its id."""
    return [pytest.param(case, id=case.id) for case in CASES[kind]]
