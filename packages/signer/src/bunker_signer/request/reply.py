"""A response on its way to a client."""

from collections.abc import Callable
from dataclasses import dataclass, field

from bunker_core.event import Event
from bunker_core.nips.channel import Scheme, rpc_template
from bunker_core.nips.nip46 import Response
from bunker_signer.key.identity import Identity


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; `seal` makes a fresh event of it for each attempt to deliver it."""

    identity: Identity
    client_pubkey: str
    response: Response
    scheme: Scheme
    relays: tuple[str, ...]  # where the client listens, beside our own
    not_before: int  # created_at of the request
    digest: str = ""  # of the request in the journal, if it is there
    after: Callable[[], None] | None = field(default=None, compare=False)  # once it was sent
    # Encrypted already and not sent yet, one at most: what the journal holds is what goes out.
    unsent: list[str] = field(default_factory=list, compare=False, repr=False)

    def text(self) -> str:
        """Return the encrypted response, with a nonce that was never sent."""
        if self.unsent:
            return self.unsent.pop()
        channel = self.identity.channel(self.client_pubkey)
        return channel.seal(self.response.to_json(), self.scheme)

    def kept(self) -> str:
        """Return the encrypted response for the journal: the first `seal` sends the very same."""
        text = self.text()
        self.unsent.append(text)
        return text

    def seal(self, now: int) -> Event:
        """Return a fresh event: relays drop one that they saw before.

        Its created_at is never before the request's: a client that subscribed `since` its own now
        would otherwise not get it from a signer whose clock is behind.
        """
        template = rpc_template(self.text(), self.client_pubkey, max(now, self.not_before))
        return self.identity.transport.sign(template)
