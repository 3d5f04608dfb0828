"""One request on its way, without I/O: what was heard of it, what to do next, when to give up.

Human time and machine time have separate deadlines. A round trip is a matter of seconds; an
approval takes as long as a person needs to find their phone. NIP-46 has no word for "I am asking
my owner", so a request that was delivered and stays unanswered is followed by a `ping`: if the
signer answers that and not the request, a person is at work.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Final

from bunker_client.errors import (
    ClientError,
    RelayRefused,
    RelayUnreachable,
    RequestTimeout,
    RequestTooLarge,
    SignerLocked,
    SignerOffline,
    WaitingForApproval,
)
from bunker_client.request.progress import Progress, Step
from bunker_core.messages import prefix
from bunker_core.nips.nip46 import Method, Request
from bunker_core.pool import Receipt

REQUEST_TIMEOUT: Final = 10.0  # seconds for a round trip; relays answer in a fraction of one
APPROVAL_TIMEOUT: Final = 180.0  # seconds for a person to find their phone and read

# Pauses before a request is sent again that nobody was there to get, in seconds: the first, the
# longest. A signer that restarts is back within the first few.
_RETRY_PAUSES: Final = (0.25, 2.0)
# A woken signer has what the relay held for it. Sent again before a relay forgets, in case not.
_WOKEN_PAUSE: Final = 20.0
_RECEIPT_PATIENCE: Final = 3.0  # seconds until a relay that owes an OK is checked for life
# Seconds from a delivery to the first ping, and the factor from one ping to the next. A caller with
# less time is told all the same what becomes of the request: the first ping goes out in a quarter
# of it, so that its answer has three times as long as it waited.
_PROBE_PAUSE: Final = 5.0
_PROBE_SHARE: Final = 4.0
_PROBE_FACTOR: Final = 3.0
# A signer that restarted has lost the request; one that asks its owner has not. Both answer a
# ping, so the request is sent again, with its id, this many times at most.
_RESENDS: Final = 3
_CONNECTING_GRACE: Final = 2.0  # seconds that a relay still connecting may have the signer
_LONGEST_PAUSE: Final = 1.0  # seconds between two reviews

# A second try may go better; every other refusal is the relay's policy.
_PASSING: Final = frozenset({"rate-limited", "error"})
_WITH_PEOPLE: Final = (Step.WAITING_FOR_APPROVAL, Step.LOCKED)
_MACHINE_METHODS: Final = frozenset(
    {Method.PING.value, Method.SWITCH_RELAYS.value, Method.LOGOUT.value}
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each kind of waiting may last, in seconds.

    `offline` is for a signer that nobody can reach: 0 raises SignerOffline at once, None waits as
    long as for a round trip. `total` ends all waiting, whatever for.
    """

    machine: float = REQUEST_TIMEOUT
    approval: float = APPROVAL_TIMEOUT
    offline: float | None = None
    total: float | None = None


class Action(Enum):
    """What the link has to do for a request."""

    SEND = "send"  # again, as a fresh event with the same request id
    PROBE = "probe"  # ping the signer
    CHECK_RELAYS = "check relays"  # are the connections alive that owe an OK


@dataclass(frozen=True, slots=True)
class View:
    """What the link sees of the outside at one moment."""

    receipts: Collection[Receipt]  # of the latest sending
    owing: Collection[str]  # connected relays that have not answered it
    connected: Collection[str]
    connecting: bool  # whether a relay is still in its first attempts
    relay_errors: str  # why no relay is connected
    heard_at: float | None  # when the latest of what the signer has answered was sent
    answers_pings: bool  # whether it ever answered one
    locked: bool = False  # whether it said so when it was asked last
    knows_method: bool = True  # whether it ever answered the method, or is bound to know it
    clock_fault: str = ""  # what is wrong with this machine's clock, for an error's text


class Call:
    """A request that has no answer yet. Times are seconds of one monotonic clock."""

    def __init__(self, request: Request, patience: Patience, now: float) -> None:
        self.request = request
        self.step = Step.QUEUED
        self.auth_url: str | None = None
        self._patience = patience
        self._human = request.method not in _MACHINE_METHODS
        self._started = now
        self._since = now  # of the step, or of the group of steps that share a deadline
        self._sent_at = now
        self._checked = False
        self._retry_at = now
        self._retry_pause = _RETRY_PAUSES[0]
        self._probe_at: float | None = None
        human_time = patience.approval if patience.total is None else patience.total
        self._probe_pause = min(_PROBE_PAUSE, human_time / _PROBE_SHARE)
        self._probed_at: float | None = None
        self._resends = 0
        self._refusals: tuple[Receipt, ...] = ()

    @property
    def progress(self) -> Progress:
        """Where the request stands."""
        return Progress(str(self.request.id), self.request.method, self.step, self.auth_url)

    @property
    def sent_at(self) -> float:
        """When the request was handed to the relays, the latest time."""
        return self._sent_at

    def sent(self, now: float) -> None:
        """Note that the request was handed to the relays (again)."""
        self._sent_at = now
        self._checked = False

    def delivered(self, now: float) -> bool:
        """Take a relay's word that the signer has it; return whether the next review can wait.

        It can as long as nothing is due before the latest moment for that: then nobody need be
        woken for the relay's OK, which comes while the signer is at work.
        """
        if self.step is not Step.SENT or self._probe_pause < _LONGEST_PAUSE:
            return False
        self._enter(Step.DELIVERED, now)
        return True

    def ask_user(self, url: str, now: float) -> bool:
        """Note that the signer sends its owner to a page; return whether that is news."""
        if self.auth_url is not None:
            return False
        self.auth_url = url
        self._enter(Step.WAITING_FOR_APPROVAL, now)
        return True

    def review(self, now: float, view: View) -> tuple[list[Action], float]:
        """Take in what can be seen; return what to do and in how many seconds to look again.

        Raises RelayUnreachable, RelayRefused, SignerOffline, RequestTimeout or WaitingForApproval
        when the time for the present step is over.
        """
        actions = self._see(now, view)
        deadline = self._deadline(view)
        if now >= deadline:
            raise self._failure(now, view)
        actions += self._next(now, view)
        moments = [deadline, now + _LONGEST_PAUSE]
        if self.step in (Step.SIGNER_OFFLINE, Step.SIGNER_WOKEN, Step.REFUSED):
            moments.append(self._retry_at)
        if self._probe_at is not None:
            moments.append(self._probe_at)
        return actions, max(0.0, min(moments) - now)

    # --- what is seen --------------------------------------------------------------------------

    def _see(self, now: float, view: View) -> list[Action]:
        if not view.connected and self.auth_url is None:
            if self.step is Step.SENT:
                self.step = Step.QUEUED  # one deadline for both: `_since` stays
            self._enter(Step.QUEUED, now)
            return []
        if any(receipt.delivered for receipt in view.receipts):
            if self.step not in (Step.DELIVERED, *_WITH_PEOPLE):
                self._enter(Step.DELIVERED, now)
            return self._see_signer(now, view)
        if self.auth_url is not None:
            return []  # the signer has the request, wherever it listens now
        # A relay that is still connecting may be the one where the signer is.
        hoping = view.connecting and now < self._started + _CONNECTING_GRACE
        if view.receipts and not view.owing and not hoping:
            if any(receipt.woken for receipt in view.receipts):
                self._enter(Step.SIGNER_WOKEN, now)
            elif any(receipt.muted for receipt in view.receipts):
                if self.step is not Step.SIGNER_WOKEN:  # once woken it has the request
                    self._enter(Step.SIGNER_OFFLINE, now)
            else:
                self._enter(Step.REFUSED, now)
            self._refusals = tuple(view.receipts)
        elif self.step is Step.QUEUED:
            self.step = Step.SENT
        return []

    def _see_signer(self, now: float, view: View) -> list[Action]:
        """Tell a signer that asks its owner from one that is gone."""
        # What was sent later has its answer. A signer that is merely busy answers in order.
        heard = self._probed_at is not None and (view.heard_at or 0.0) > self._sent_at
        if not heard:
            return []
        self._probed_at = None
        self._enter(Step.LOCKED if view.locked else Step.WAITING_FOR_APPROVAL, now)
        if self._resends == _RESENDS:
            return []
        self._resends += 1
        return [Action.SEND]

    def _enter(self, step: Step, now: float) -> None:
        if step is self.step:
            return
        self.step = step
        self._since = now
        self._retry_at = now + (_WOKEN_PAUSE if step is Step.SIGNER_WOKEN else self._retry_pause)
        if step is Step.DELIVERED and self._human:
            self._probe_at = now + self._probe_pause
        elif step not in _WITH_PEOPLE:
            self._probe_at = self._probed_at = None

    # --- what to do ----------------------------------------------------------------------------

    def _next(self, now: float, view: View) -> list[Action]:
        if self.step is Step.SIGNER_WOKEN and now >= self._retry_at:
            self._retry_at = now + _WOKEN_PAUSE
            return [Action.SEND]
        if self.step in (Step.SIGNER_OFFLINE, Step.REFUSED) and now >= self._retry_at:
            self._retry_pause = min(2 * self._retry_pause, _RETRY_PAUSES[1])
            self._retry_at = now + self._retry_pause
            return [Action.SEND]
        if self._probe_at is not None and now >= self._probe_at:
            self._probe_pause *= _PROBE_FACTOR
            self._probe_at = now + self._probe_pause
            self._probed_at = now
            return [Action.PROBE]
        if view.owing and not self._checked and now >= self._sent_at + _RECEIPT_PATIENCE:
            self._checked = True
            return [Action.CHECK_RELAYS]
        return []

    # --- when to give up -----------------------------------------------------------------------

    def _deadline(self, view: View) -> float:
        patience = self._patience
        end = self._started + patience.machine + (patience.approval if self._human else 0.0)
        if patience.total is not None:
            end = self._started + patience.total
        match self.step:
            case Step.SIGNER_WOKEN if self._human:
                allowed = patience.approval
            case Step.SIGNER_OFFLINE:
                allowed = patience.machine if patience.offline is None else patience.offline
            case Step.REFUSED:
                passing = any(prefix(receipt.reason) in _PASSING for receipt in self._refusals)
                allowed = patience.machine if passing else 0.0
            case Step.WAITING_FOR_APPROVAL | Step.LOCKED:
                allowed = patience.approval
            case Step.DELIVERED if self._human:
                allowed = patience.approval
                if view.answers_pings and self._probed_at is not None:
                    # It used to answer pings, and does not answer this one.
                    end = min(end, self._probed_at + patience.machine)
            case _:
                allowed = patience.machine
        return min(end, self._since + allowed)

    def _failure(self, now: float, view: View) -> ClientError:
        method, waited = self.request.method, round(now - self._started, 1)
        match self.step:
            case Step.QUEUED:
                return RelayUnreachable(f"{method}: no relay is connected: {view.relay_errors}")
            case Step.SIGNER_OFFLINE:
                relays = (receipt.relay_url for receipt in self._refusals if receipt.muted)
                return SignerOffline(method, ", ".join(relays))
            case Step.REFUSED:
                said = "; ".join(f"{item.relay_url}: {item.reason!r}" for item in self._refusals)
                kind = RelayRefused
                if all(item.too_large for item in self._refusals):
                    kind = RequestTooLarge
                return kind(f"{method}: no relay takes the request: {said}")
            case Step.WAITING_FOR_APPROVAL | Step.SIGNER_WOKEN:
                return WaitingForApproval(method, waited, self.auth_url, view.knows_method)
            case Step.LOCKED:
                return SignerLocked(method, f"locked: the key was not unlocked in {waited:g} s")
            case Step.DELIVERED:
                asked = self._probed_at is not None and view.answers_pings
                what = "neither it nor a ping is answered" if asked else "the signer did not answer"
                what = f"the request was delivered, but {what}{view.clock_fault}"
                return RequestTimeout(method, waited, what)
            case _:
                silent = ", ".join(view.owing or view.connected)
                what = f"{silent} did not acknowledge the request{view.clock_fault}"
                return RequestTimeout(method, waited, what)
