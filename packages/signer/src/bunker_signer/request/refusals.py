"""Refusals in the audit log: the first of a kind at once, the others as one entry.

An app that was told no may ask again a hundred times a second. The owner learns that, and how
often, and no disk fills with it.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from bunker_signer.request.decision import Job
from bunker_signer.request.operation import Operation, Refused
from bunker_signer.store import audit_log

WINDOW: Final = 600  # seconds that one entry stands for at most
KINDS: Final = 4096  # of refusals that are counted at a time

_Kind = tuple[str, str, str, str, str]  # key, client, method, stable word, who or what decided


@dataclass(slots=True)
class _Counted:
    since: int
    more: int = 0


@dataclass(frozen=True, slots=True)
class Sum:
    """So many more refusals of one kind in so many seconds."""

    kind: _Kind
    count: int
    seconds: int

    def append(self, connection: Connection, now: int) -> None:
        """Write it down."""
        key_name, client_pubkey, method, word, by = self.kind
        audit_log.append(
            connection,
            now,
            "request",
            key_name,
            client_pubkey=client_pubkey,
            method=method,
            outcome=f"{word}: {self.count} more in {self.seconds} s",
            decided_by=by,
        )


class Refusals:
    """Counts. Kinds are few for each client: what it can vary at will is no part of one."""

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._counted: dict[_Kind, _Counted] = {}

    def note(self, job: Job, operation: Operation, refusal: Refused, now: int) -> bool:
        """Take a refusal; return whether it needs an entry of its own, as the first of its kind."""
        word = refusal.error.partition(":")[0]
        method = operation.action.method.value
        kind = (job.identity.name, job.client.pubkey, method, word, refusal.by)
        counted = self._counted.get(kind)
        if counted is not None:
            counted.more += 1
            return False
        if len(self._counted) < KINDS:
            self._counted[kind] = _Counted(now)
        return True

    def due(self, now: int, *, all_of_them: bool = False) -> list[Sum]:
        """Return, and begin anew, what is over: to be written down."""
        sums: list[Sum] = []
        for kind, counted in list(self._counted.items()):
            if not all_of_them and now < counted.since + self._window:
                continue
            del self._counted[kind]
            if counted.more:
                sums.append(Sum(kind, counted.more, max(1, now - counted.since)))
        return sums
