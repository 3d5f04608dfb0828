"""Decide, use, record: one thing, and each function of it is part of one transaction.

The policy's decision, a grant's use, the owner's approval, what the key made of it, the journal's
entry and the line in the audit log are changed together or not at all. Nothing here waits, and
nothing calls back to what does (`jobs.py`).
"""

from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection

from bunker_core.event import VerifiedEvent
from bunker_core.nips.channel import Scheme
from bunker_core.nips.nip46 import Request, Response
from bunker_signer.key.access import KeyState
from bunker_signer.key.identity import Identity
from bunker_signer.policy import Allow, Ask, Effect, Grant, Refuse, decide
from bunker_signer.request.approval import Answer, Verdict
from bunker_signer.request.operation import Operation, Refused
from bunker_signer.request.reply import Reply
from bunker_signer.store import audit_log, clients, grants, journal
from bunker_signer.store.clients import Client
from bunker_signer.store.journal import Entry, State

ALLOWED: Final = "allowed"  # an outcome in the audit log; the others are the errors' texts
_ONE_ANSWER: Final = 10  # seconds in which the requests of one answer are written down
GONE: Final = "denied: not connected any more"


@dataclass(slots=True)
class Job:
    """A request that wants the key: what is known of it on its way there."""

    identity: Identity
    client: Client
    event: VerifiedEvent
    request: Request
    scheme: Scheme
    relays: set[str]  # grows when the request is repeated by another relay
    received_at: int  # by our own clock: what it waits for is counted from here
    dated: int  # by the corrected one: the created_at of an event that has none
    resumed: bool = False  # taken up from an earlier run
    result: str | None = field(default=None, repr=False)  # what the key made of it
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        self.digest = journal.digest_of(self.identity.name, self.client.pubkey, self.request)

    def use(self, operation: Operation) -> str:
        """Return what the key makes of it: the only place where it is opened for a client.

        A transaction that is made again finds the result here: the key was used for it already.
        Raises NSEError.
        """
        if self.result is None:
            self.identity.access.touch()
            if operation.template is not None:
                self.result = self.identity.sign(operation.template).to_json().decode()
            else:
                action = operation.action
                self.result = self.identity.crypt(action, action.peer or "", operation.text)
        return self.result

    def reply(self, response: Response) -> Reply:
        """Return what carries `response` to the client."""
        return Reply(
            self.identity,
            self.client.pubkey,
            response,
            self.scheme,
            tuple(self.relays),
            self.event.created_at,
            self.digest,
        )


@dataclass(frozen=True, slots=True)
class Admitted:
    """What became of a request: `entry` in the journal, a refusal, or the reply.

    One that a rule refuses is not in the journal: the rule says the same again, and an app that
    sends thousands of them fills no disk.
    """

    entry: Entry
    refusal: Refused | None = None
    reply: Reply | None = None


def admit(
    connection: Connection,
    job: Job,
    operation: Operation,
    now: int,
    *,
    running: bool,
    attended: bool,
) -> Admitted | None:
    """Write a request down with the policy's decision; None for an event that was handled before.

    What a grant allows is done and answered in the same transaction, unless the key is not open.
    `running` says that the same request is being worked on, `attended` that there is somebody to
    ask.
    """
    if not journal.mark_handled(connection, job.event.id, now):
        return None
    clients.see(connection, job.client, now)
    entry = journal.find(connection, job.digest)
    if entry is not None or running:
        return Admitted(entry or _entry(job, State.OPEN))
    if job.identity.state is KeyState.PAUSED:
        return _refused(job, "locked: the signer is paused")
    held = grants.of(connection, job.identity.name, job.client.pubkey)
    match decide(held, operation.action, now):
        case Allow(grant):
            if grant is not None:
                grants.use(connection, grant, now)
            result = _use_at_once(job, operation)
            if result is None:
                admitted = Admitted(_entry(job, State.APPROVED, _rule(grant)))
            else:
                admitted = _answered(job, Response(job.request.id, result), _rule(grant))
                _audit(connection, job, operation, now, ALLOWED, _rule(grant))
        case Ask():
            # Revoked since it was looked up: there would be grants otherwise, or no question.
            if clients.find(connection, job.identity.name, job.client.pubkey) is None:
                return _refused(job, GONE)
            if not attended:
                error = f"denied: {operation.action.permission} is not allowed"
                return _refused(job, error, "nobody to ask")
            admitted = Admitted(_entry(job, State.OPEN))
        case Refuse(error, grant):
            return _refused(job, error, _rule(grant))
    journal.add(connection, admitted.entry)
    return admitted


def approve(connection: Connection, job: Job, operation: Operation, now: int, said: Answer) -> bool:
    """Write down what the owner said; return whether the request is still there."""
    if said.allows and not journal.approve(connection, job.digest, said.by):
        return False
    if said.verdict in (Verdict.ALWAYS, Verdict.NEVER):
        _take_rule(connection, job, operation, now, said)
    return True


def answer(
    connection: Connection,
    job: Job,
    operation: Operation,
    now: int,
    text: str,
    outcome: str,
    decided_by: str,
    *,
    lasting: bool,
) -> bool:
    """Write down the encrypted answer `text`; return whether it may go.

    It may not when the client was revoked, or has logged out, in the meantime. One that is not
    `lasting` is forgotten, so that the same request is looked at afresh, and in the audit log with
    the others of its kind (`refusals.py`).
    """
    if lasting:
        released = journal.answer(connection, job.digest, text)
        _audit(connection, job, operation, now, outcome if released else GONE, decided_by)
    else:
        released = journal.find(connection, job.digest) is not None
        journal.forget(connection, job.digest)
    return released


def _take_rule(
    connection: Connection, job: Job, operation: Operation, now: int, said: Answer
) -> None:
    """Turn "always" and "never" into a grant, if the client is still one."""
    if said.uses == 0:
        return  # all of them were used up by what was asked together
    if clients.find(connection, job.identity.name, job.client.pubkey) is None:
        return
    try:
        param = operation.action.rule
    except ValueError:
        return
    grant = Grant(
        operation.action.method.value,
        param,
        Effect.ALLOW if said.allows else Effect.DENY,
        expires_at=None if said.seconds is None else now + said.seconds,
        uses_left=said.uses,
    )
    held = grants.of(connection, job.identity.name, job.client.pubkey)
    grants.put(connection, job.identity.name, job.client.pubkey, grant, now)
    if any(_same_rule(item, grant) for item in held):
        return  # of the same answer, for another request of its question: told once
    limits = [f"{said.seconds}s"] if said.seconds is not None else []
    limits += [f"{said.uses}x"] if said.uses is not None else []
    audit_log.append(
        connection,
        now,
        "grant",
        job.identity.name,
        client_pubkey=job.client.pubkey,
        method=grant.method,
        param=grant.param or "",
        outcome=" ".join([grant.effect.value, *limits]),  # for how long, and how many times
        decided_by=said.by,
    )


def _same_rule(one: Grant, other: Grant) -> bool:
    """Tell whether two grants are of one answer: the requests of a burst come seconds apart."""
    if (one.method, one.param, one.effect) != (other.method, other.param, other.effect):
        return False
    if one.expires_at is None or other.expires_at is None:
        return one.expires_at == other.expires_at and one.uses_left == other.uses_left
    return abs(one.expires_at - other.expires_at) < _ONE_ANSWER


def _use_at_once(job: Job, operation: Operation) -> str | None:
    """Return a result; None when the key is not unlocked, or whatever else is wrong with it."""
    if job.identity.state is not KeyState.UNLOCKED:
        return None
    try:
        return job.use(operation)
    except Exception:  # noqa: BLE001 -- met again, and answered, when it is tried in its turn
        return None


def _refused(job: Job, error: str, by: str = "") -> Admitted:
    return Admitted(_entry(job, State.OPEN), Refused(error, lasting=False, by=by))


def _answered(job: Job, response: Response, decided_by: str) -> Admitted:
    """Return the entry of a request with its answer, encrypted as it will leave."""
    reply = job.reply(response).seal()
    return Admitted(_entry(job, State.ANSWERED, decided_by, reply.sealed), reply=reply)


def _entry(job: Job, state: State, decided_by: str = "", answer: str = "") -> Entry:
    return Entry(
        job.digest,
        job.identity.name,
        job.client.pubkey,
        "" if answer else job.event.to_json().decode(),  # what is answered is not needed any more
        next(iter(job.relays), ""),
        state,
        job.received_at,
        decided_by,
        answer,
    )


def audit(
    connection: Connection, job: Job, operation: Operation, now: int, refusal: Refused
) -> None:
    """Write down that a request was refused."""
    _audit(connection, job, operation, now, refusal.error, refusal.by)


def _audit(
    connection: Connection, job: Job, operation: Operation, now: int, outcome: str, by: str
) -> None:
    audit_log.append(
        connection,
        now,
        "request",
        job.identity.name,
        client_pubkey=job.client.pubkey,
        method=operation.action.method.value,
        param=operation.action.param or "",
        event_id=operation.event_id or job.event.id,
        outcome=outcome,
        decided_by=by,
    )


def _rule(grant: Grant | None) -> str:
    if grant is None:
        return ""
    return f"grant {grant.method}" + (f":{grant.param}" if grant.param else "")
