"""Panic in a running signer: the same from the command line, the console or anywhere else."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bunker_signer.approvers.inbox import Inbox
from bunker_signer.key.panic import empty_console, revoke_everything
from bunker_signer.request.approval import Answer, Verdict
from bunker_signer.service.agent import Agent


def panic(
    agent: Agent, inbox: Inbox, data: Path, by: str, clock: Callable[[], float] = time.time
) -> dict[str, Any]:
    """Lock every key, then forget every app, secret, device and passkey, and deny what waits."""
    # All keys are wiped before anything that can fail.
    for identity in agent.identities.values():
        identity.access.shut(after_panic=True)
        identity.forget_channels()
    names = [item.name for item in agent.identities.values()]
    result = revoke_everything(agent.database, names, by, int(clock()))
    result |= empty_console(data)
    for question in inbox.questions():
        inbox.answer(question.id, Answer(Verdict.DENY, "panic"))
    return {"keys": names, **result}
