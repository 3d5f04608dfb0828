"""A signer that kills itself (SIGKILL) at a chosen step: a program for test_killed.py.

Its arguments are DATA RELAY [STEP [PERMISSION]]. STEP is `before:NAME` or `after:NAME`, a call of
the request path. Every question is answered with "once"; what PERMISSION grants is not asked. What
is asked and signed is noted in DATA, one line each, so that a test can count it.
"""

import asyncio
import inspect
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bunker_core.nips.nip46 import parse_permissions
from bunker_signer.policy import grants_of
from bunker_signer.request.approval import Answer, Question, Verdict
from bunker_signer.service.service import Config, Service, running


def note(path: Path, text: str) -> None:
    """Add a line that survives the process."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(handle, text.encode() + b"\n")
    os.close(handle)


class Yes:
    """Approves everything, and notes that it was asked."""

    def __init__(self, data: Path) -> None:
        self._data = data

    async def ask(self, question: Question) -> Answer:
        note(self._data / "asked", question.items[0].request)
        return Answer(Verdict.ONCE, "test")


def wrap(target: Any, name: str, before: Callable[[], None], after: Callable[[], None]) -> None:
    """Call `before` and `after` around the method `name` of `target`."""
    original = getattr(target, name)

    async def asynchronous(*args: Any, **kwargs: Any) -> Any:
        before()
        result = await original(*args, **kwargs)
        after()
        return result

    def synchronous(*args: Any, **kwargs: Any) -> Any:
        before()
        result = original(*args, **kwargs)
        after()
        return result

    wrapped = asynchronous if inspect.iscoroutinefunction(original) else synchronous
    setattr(target, name, wrapped)


def arm(service: Service, step: str) -> None:
    """Have the process die at `step`, the first time that it comes to it for a key request."""
    when, _, name = step.partition(":")
    targets = {
        "decide": (service.jobs, "_admit"),
        "decided": (service.jobs, "_admitted"),
        "ask": (service.approvals, "ask"),
        "approve": (service.jobs, "_approve"),
        "open": (service.identities[0], "sign"),
        "answer": (service.jobs, "_answer"),
        "publish": (service.agent.pool, "publish"),
        "note": (service.agent._courier, "_on_delivered"),
    }
    if step == "after:decide":  # that is when the decision is committed
        when, name = "before", "decided"
    target, attribute = targets[name]

    def die() -> None:
        # Connecting publishes and is noted too; only a request that wants the key counts.
        if name in ("publish", "note") and not armed:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def nothing() -> None:
        return

    armed: list[bool] = []
    wrap(service.jobs, "_admit", lambda: armed.append(True), nothing)
    wrap(
        target,
        attribute,
        die if when == "before" else nothing,
        die if when == "after" else nothing,
    )


async def main(data: Path, relay: str, step: str = "", permission: str = "") -> None:
    data.mkdir(exist_ok=True)
    async with running(Config(data, (relay,)), [Yes(data)]) as service:
        identity = service.identities[0]
        wrap(identity, "sign", lambda: None, lambda: note(data / "signed", "1"))
        if step:
            arm(service, step)
        granted = parse_permissions(permission)
        uri = service.agent.invite(identity, f"secret-{os.getpid()}", grants_of(granted))
        print(uri, flush=True)
        await service.agent.serve()


def run(prog_name: str) -> None:
    """Run it with the arguments of this process."""
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
