"""Where a request stands, for a program to show to a person."""

from dataclasses import dataclass
from enum import Enum


class Step(Enum):
    """How far a request has come."""

    QUEUED = "queued"  # no relay is connected
    SENT = "sent"  # a relay has it, or is about to
    REFUSED = "refused"  # no relay takes it for now
    SIGNER_OFFLINE = "signer offline"  # a relay has it, and nobody is listening
    DELIVERED = "delivered"  # a relay has passed it on
    WAITING_FOR_APPROVAL = "waiting for approval"  # the signer is there and has not answered
    ANSWERED = "answered"
    FAILED = "failed"


_SENTENCES = {
    Step.QUEUED: "waiting for a relay",
    Step.SENT: "sent, not yet acknowledged",
    Step.REFUSED: "no relay takes it, trying again",
    Step.SIGNER_OFFLINE: "the signer is offline, trying again",
    Step.DELIVERED: "delivered to the signer",
    Step.WAITING_FOR_APPROVAL: "waiting for you to approve it at your signer",
    Step.ANSWERED: "answered",
    Step.FAILED: "failed",
}


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of one request."""

    request_id: str
    method: str
    step: Step
    auth_url: str | None = None  # the page where the owner is asked to agree

    def __str__(self) -> str:
        where = f": {self.auth_url}" if self.auth_url else ""
        return f"{self.method}: {_SENTENCES[self.step]}{where}"
