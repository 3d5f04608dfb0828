"""A response on its way to a client."""

from dataclasses import dataclass, field, replace

from bunker_core.event import Event
from bunker_core.nips.channel import Scheme, rpc_template
from bunker_core.nips.nip46 import Response
from bunker_signer.key.identity import Identity


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; `event` makes what carries it."""

    identity: Identity
    client_pubkey: str
    response: Response
    scheme: Scheme
    relays: tuple[str, ...]  # where the client listens, beside our own
    not_before: int  # created_at of the request
    digest: str = ""  # of the request in the journal, if it is there
    sealed: str = field(default="", repr=False)  # encrypted already, as the journal holds it

    def seal(self) -> "Reply":
        """Return the reply encrypted: what the journal keeps is what goes out first."""
        # Not by `dataclasses.replace`, which takes longer than the encryption.
        return Reply(
            self.identity,
            self.client_pubkey,
            self.response,
            self.scheme,
            self.relays,
            self.not_before,
            self.digest,
            self._encrypted(),
        )

    def _encrypted(self) -> str:
        channel = self.identity.channel(self.client_pubkey)
        return channel.seal(self.response.to_json(), self.scheme)

    def afresh(self) -> "Reply":
        """Return the reply not encrypted yet: relays drop an event that they saw before."""
        return replace(self, sealed="") if self.sealed else self

    def event(self, now: int) -> Event:
        """Return the event that carries the reply.

        Its created_at is never before the request's: a client that subscribed `since` its own now
        would otherwise not get it from a signer whose clock is behind.
        """
        text = self.sealed or self._encrypted()
        template = rpc_template(text, self.client_pubkey, max(now, self.not_before))
        return self.identity.transport.sign(template)
