"""Requests that want the key, from the decision to the answer, each exactly once.

Every step is written to the journal in the transaction that holds what it stands for, before the
next begins: a process that is killed anywhere goes on where it was, signs nothing that was not
allowed, and never releases a second answer. What a grant allows takes one step, decision and answer
together. Requests that arrive together share transactions (`store/database/writer.py`); that an
answer was delivered is noted with whatever is written next, since it only spares a delivery after a
restart.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Final

from bunker_core.bounds.shares import Shares
from bunker_core.errors import BunkerError
from bunker_core.event import parse_event_json, verify
from bunker_core.nips.nip46 import Request, Response, parse_request, parse_response
from bunker_signer.key.access import KeyState
from bunker_signer.key.identity import Identity
from bunker_signer.nse import NSEError, NSEErrorCode
from bunker_signer.process.logs import get_logger
from bunker_signer.process.metrics import Metrics
from bunker_signer.request import decision
from bunker_signer.request.approval import DEADLINE, MAX_WAITING, Approvals, Item, TooMany
from bunker_signer.request.course import Rest, Then, awaited, raising
from bunker_signer.request.decision import Admitted, Job
from bunker_signer.request.operation import Operation, Refused, hosts_of, read_operation
from bunker_signer.request.refusals import Refusals
from bunker_signer.request.reply import Reply
from bunker_signer.store import StoreError, Writer, clients, journal
from bunker_signer.store.database.space import Space
from bunker_signer.store.journal import Entry, State

# Bytes of one client's requests that may wait for a person: they are kept whole, to be taken up
# after a restart.
ASKED_BYTES: Final = 8 * 1024 * 1024
# Bytes of one client's answers that are kept for a repetition: an hour of a busy app's would be
# gigabytes. The oldest go first.
KEPT_BYTES: Final = 32 * 1024 * 1024

# What the NSE says when the key is fine and what it was given is not.
_CLIENT_FAULTS: Final = (NSEErrorCode.SIGN_FAILED, NSEErrorCode.DECRYPTION_FAILED)

log = get_logger(__name__)


class Jobs:
    """Decides, asks, uses the key, and writes all of it down."""

    def __init__(
        self,
        writer: Writer,
        approvals: Approvals,
        *,
        relays: Iterable[str] = (),
        space: Space | None = None,
        deadline: float = DEADLINE,
        auth_url: str = "",
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`relays` are our own; `deadline` is the seconds that a request may wait for a person.

        `auth_url` is sent to a client whose request waits; `{request}` in it becomes the digest.
        """
        self._writer = writer
        self._approvals = approvals
        self._own_hosts = hosts_of(relays)
        self.space: Final = space or Space(None)
        self._deadline = deadline
        self._auth_url = auth_url
        self._metrics = metrics or Metrics()
        self._clock = clock
        self._running: dict[str, Job] = {}
        self.refusals: Final = Refusals()
        # Of a key's client: bytes that wait for a person, bytes kept since the last look at all of
        # them, requests that wait for an unlock.
        self._asked_bytes: Shares[tuple[str, str]] = Shares()
        self._kept_bytes: Counter[tuple[str, str]] = Counter()
        self._locked_out: Shares[tuple[str, str]] = Shares()
        self.on_interim: Callable[[Reply], object] = lambda _: None
        self.on_locked: Callable[[Identity], None] = lambda _: None

    @property
    def running(self) -> int:
        """How many requests are being worked on."""
        return len(self._running)

    async def run(self, job: Job) -> Reply | None:
        """Return the answer to a request; None when one being worked on is the same."""
        return await awaited(partial(self.start, job))

    def start(self, job: Job, then: Then, otherwise: Rest) -> None:
        """As `run`, without a task for what a grant allows: `then` is called with the answer.

        For whatever takes longer `otherwise` is called, with what is left to do.
        """
        if not self.space.enough:
            full = "error: the signer's disk is nearly full"
            then(self._refuse(job, Refused(full, lasting=False)))
            return
        try:
            operation = self._read(job.request, job.identity, job.dated)
        except Refused as refusal:
            otherwise(partial(self._unreadable, job, refusal))
            return
        job.relays.update(job.client.relays)
        same = self._running.get(job.digest)
        if same is not None:
            # Before it is written down: the answer may be on its way when that is done.
            same.relays |= job.relays
        else:
            self._running[job.digest] = job
        self._admit(job, operation, then, otherwise, running=same is not None)

    async def _unreadable(self, job: Job, refusal: Refused) -> Reply:
        event_id, now = job.event.id, job.received_at
        await self._writer.write(lambda to: journal.mark_handled(to, event_id, now))
        return self._refuse(job, refusal)

    async def resume(self, identity: Identity, entry: Entry) -> Reply | None:
        """Take up a request where an earlier run left it; None when its client is gone."""
        if entry.state is State.ANSWERED:
            return self._resume_answer(identity, entry)
        try:
            event = verify(parse_event_json(entry.event))
            text, scheme = identity.channel(event.pubkey).open(event.content)
            request = parse_request(text)
            operation = self._read(request, identity, entry.received_at)
        except (BunkerError, Refused):
            log.error("journal entry unreadable", digest=entry.digest)
            await self._writer.write(lambda to: journal.forget(to, entry.digest))
            return None
        client = self._writer.read(lambda at: clients.find(at, identity.name, event.pubkey))
        if client is None or entry.digest in self._running:
            return None
        relays = {entry.relay_url, *client.relays}
        at = entry.received_at
        job = Job(identity, client, event, request, scheme, relays, at, at, resumed=True)
        self._running[job.digest] = job
        try:
            return await self._carry_on(job, operation, entry)
        finally:
            del self._running[job.digest]

    def _resume_answer(self, identity: Identity, entry: Entry) -> Reply | None:
        """Return an answer that an earlier run wrote down and did not get away."""
        pubkey = entry.client_pubkey
        client = self._writer.read(lambda at: clients.find(at, identity.name, pubkey))
        if client is None or entry.digest in self._running:
            return None
        text, scheme = identity.channel(pubkey).open(entry.answer)
        relays = tuple(dict.fromkeys((entry.relay_url, *client.relays)))
        response, at = parse_response(text), entry.received_at
        return Reply(identity, pubkey, response, scheme, relays, at, entry.digest)

    def _read(self, request: Request, identity: Identity, now: int) -> Operation:
        return read_operation(request, identity.user_pubkey, now, self._own_hosts)

    def delivered(self, reply: Reply) -> None:
        """Note that a relay delivered the answer."""
        if reply.digest:
            self._writer.write_soon(lambda to: journal.finish(to, reply.digest))

    async def too_large(self, reply: Reply, reason: str) -> Reply | None:
        """Return the error that goes instead of an answer that no relay carries.

        The journal has it in the answer's place, so that the answer is not sent again, whoever
        asks, and not after a restart either.
        """
        if reply.response.error is not None:
            return None
        instead = replace(reply, response=Response(reply.response.id, error=reason)).seal()
        if reply.digest:
            await self._writer.write(lambda to: journal.replace(to, reply.digest, instead.sealed))
        return instead

    # --- step 5: policy ----------------------------------------------------------------------

    def _admit(
        self, job: Job, operation: Operation, then: Then, otherwise: Rest, *, running: bool
    ) -> None:
        """Write the request down with the policy's decision (see `decision.admit`).

        Decision, count of the grant's use and journal are one transaction, so a grant for one use
        is used once; and if nobody has to be asked, the answer belongs to it, too.
        """
        now, attended = int(self._clock()), self._approvals.attended

        def written(admitted: Admitted | None) -> None:
            if running:
                then(None)
            else:
                self._admitted(job, operation, admitted, then, otherwise)

        def failed(error: Exception) -> None:
            if not running:
                del self._running[job.digest]
            otherwise(raising(error))

        self._writer.hand_in(
            lambda to: decision.admit(to, job, operation, now, running=running, attended=attended),
            written,
            failed,
        )

    def _admitted(
        self,
        job: Job,
        operation: Operation,
        admitted: Admitted | None,
        then: Then,
        otherwise: Rest,
    ) -> None:
        """Go on with a request that is written down."""
        reply: Reply | None = None
        try:
            if admitted is not None:
                if admitted.reply is None:
                    otherwise(partial(self._finish, job, operation, admitted))
                    return
                reply = self._release(job, admitted.reply)
        except Exception as error:  # noqa: BLE001 -- raised where the rest is awaited
            del self._running[job.digest]
            otherwise(raising(error))
            return
        del self._running[job.digest]
        then(reply)

    async def _finish(self, job: Job, operation: Operation, admitted: Admitted) -> Reply | None:
        """Refuse, ask or wait: what does not end with the decision."""
        try:
            if admitted.refusal is not None:
                await self._note(job, operation, admitted.refusal)
                return self._refuse(job, admitted.refusal)
            return await self._carry_on(job, operation, admitted.entry)
        finally:
            del self._running[job.digest]

    async def _note(self, job: Job, operation: Operation, refusal: Refused) -> None:
        """Have a refusal in the audit log: the first of its kind, or the sum of the others."""
        now = int(self._clock())
        if self.refusals.note(job, operation, refusal, now):
            await self._writer.write(lambda to: decision.audit(to, job, operation, now, refusal))

    # --- from the decision to the answer -----------------------------------------------------

    async def _carry_on(self, job: Job, operation: Operation, entry: Entry) -> Reply | None:
        """Do what is left to do for a request in the journal."""
        if entry.state in (State.ANSWERED, State.DONE):
            text, _ = job.identity.channel(job.client.pubkey).open(entry.answer)
            return job.reply(parse_response(text))
        decided_by = entry.decided_by
        try:
            if entry.state is State.OPEN:
                decided_by = await self._approve(job, operation)
            result = await self._operate(job, operation)
            response, outcome, lasting = Response(job.request.id, result), decision.ALLOWED, True
        except Refused as refusal:
            response = Response(job.request.id, error=refusal.error)
            outcome, lasting = refusal.error, refusal.lasting
            decided_by = refusal.by or decided_by
            if not lasting:
                await self._note(job, operation, refusal)
        except StoreError:
            raise
        except Exception as failure:  # noqa: BLE001 -- a client is answered whatever happens
            # The type alone: the text could repeat what was to be signed.
            log.error("request failed", event_id=job.event.id, error=type(failure).__name__)
            outcome, lasting = "error: the signer failed", False
            response = Response(job.request.id, error=outcome)
        return await self._answer(job, operation, response, outcome, decided_by, lasting=lasting)

    async def _answer(
        self,
        job: Job,
        operation: Operation,
        response: Response,
        outcome: str,
        decided_by: str,
        *,
        lasting: bool,
    ) -> Reply:
        """Write the answer down; only then it may leave."""
        reply = job.reply(response).seal()
        text = reply.sealed
        now = int(self._clock())
        released = await self._writer.write(
            lambda to: decision.answer(
                to, job, operation, now, text, outcome, decided_by, lasting=lasting
            ),
            last=True,
        )
        if not released:
            reply = job.reply(Response(job.request.id, error=decision.GONE))
        return self._release(job, reply)

    def _release(self, job: Job, reply: Reply) -> Reply:
        """Return an answer that is written down, to go by all relays that brought the request."""
        self._count_kept(job, len(reply.sealed))
        self._metrics.count(job.request.method, reply.response.error)
        self._metrics.took(self._clock() - job.received_at)
        if len(reply.relays) == len(job.relays):
            return reply
        return replace(reply, relays=tuple(job.relays))

    def _count_kept(self, job: Job, size: int) -> None:
        """Have the oldest answers of a client go when there are too many bytes of them."""
        client = (job.identity.name, job.client.pubkey)
        self._kept_bytes[client] += size
        if self._kept_bytes[client] > KEPT_BYTES // 4:
            del self._kept_bytes[client]
            self._writer.write_soon(lambda to: journal.shrink(to, *client, KEPT_BYTES))

    def _refuse(self, job: Job, refusal: Refused) -> Reply:
        """Answer what never came as far as the journal."""
        self._metrics.count(job.request.method, refusal.error)
        return replace(job.reply(Response(job.request.id, error=refusal.error)), digest="")

    # --- step 6: approval --------------------------------------------------------------------

    async def _approve(self, job: Job, operation: Operation) -> str:
        """Return who approved; raises Refused."""
        # Once only: nostr-tools takes a second one for the answer, and an error. Without a digest,
        # as it is not the answer: it is not kept, and its delivery says nothing about the answer's.
        if self._auth_url and self._approvals.attended and not job.resumed:
            url = self._auth_url.replace("{request}", job.digest)
            interim = job.reply(Response(job.request.id, "auth_url", url))
            self.on_interim(replace(interim, digest=""))
        action = operation.action
        text = operation.text if action.method.value.endswith("_encrypt") else ""
        item = Item(action, job.digest, operation.template, text)
        client, size = (job.identity.name, job.client.pubkey), len(job.event.content)
        if not self._asked_bytes.take(client, size, ASKED_BYTES):
            raise Refused("pending: too many bytes wait for approval", lasting=False)
        try:
            answer = await self._approvals.ask(
                *client, job.client.metadata.name, item, self._left(job)
            )
        except TooMany:
            raise Refused("pending: too many requests wait for approval", lasting=False) from None
        finally:
            self._asked_bytes.give_back(client, size)
        if answer is None:
            raise Refused(f"expired: nobody answered within {self._deadline:.0f} s")
        now = int(self._clock())
        if not await self._writer.write(
            lambda to: decision.approve(to, job, operation, now, answer)
        ):
            raise Refused(decision.GONE, by=answer.by)
        if not answer.allows:
            raise Refused(f"denied: {operation.action.permission} is not allowed", by=answer.by)
        return answer.by

    # --- step 7: the key ---------------------------------------------------------------------

    async def _operate(self, job: Job, operation: Operation) -> str:
        """Use the key, when it is unlocked; raises Refused."""
        identity = job.identity
        while True:
            await self._unlocked(job)
            try:
                return job.use(operation)
            except NSEError as failure:
                if identity.user.locked:
                    # Another process changed its slots (`bunker key`): only an unlock helps.
                    identity.access.shut()
                    continue
                if failure.code in _CLIENT_FAULTS:
                    raise Refused(f"invalid: {failure}") from None
                log.error("key can't be used", key=identity.name, error=str(failure))
                raise Refused("error: the signer can't use its key", lasting=False) from None

    async def _unlocked(self, job: Job) -> None:
        """Wait for the owner to unlock the key; raises Refused."""
        identity = job.identity
        if identity.state is KeyState.LOCKED:
            client = (identity.name, job.client.pubkey)
            if not self._locked_out.take(client, 1, MAX_WAITING):
                raise Refused("locked: too many requests wait for the unlock", lasting=False)
            try:
                self.on_locked(identity)
                async with asyncio.timeout(self._left(job)):
                    await identity.access.wait_while(KeyState.LOCKED)
            except TimeoutError:
                raise Refused("locked: the key was not unlocked in time", lasting=False) from None
            finally:
                self._locked_out.give_back(client, 1)
            if self._writer.read(lambda at: clients.find(at, *client)) is None:
                raise Refused(decision.GONE)
        if identity.state is KeyState.PAUSED:
            raise Refused("locked: the signer is paused", lasting=False)

    def _left(self, job: Job) -> float:
        return max(0.0, job.received_at + self._deadline - self._clock())
