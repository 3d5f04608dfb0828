"""One request on its way to the key: what is known of it, and the reply that it would get."""

from dataclasses import dataclass, field

from bunker_core.event import VerifiedEvent
from bunker_core.nips.channel import Scheme
from bunker_core.nips.nip46 import Request, Response
from bunker_signer.key.identity import Identity
from bunker_signer.request.operation import Operation
from bunker_signer.request.reply import Reply
from bunker_signer.store import journal
from bunker_signer.store.clients import Client


@dataclass(slots=True)
class Job:
    """A request that wants the key."""

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
