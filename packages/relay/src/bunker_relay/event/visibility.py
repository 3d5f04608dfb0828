"""Who may see what: signing traffic behind the gate, and messages that are for their parties.

A signing request is encrypted, but who talks to which signer, when and how much, is not. With
`signers` set the relay tells that only to those who could know it already: what goes to a signer,
to a connection that authenticated as that signer; what comes from one, to whoever names the
recipient, a throw-away key that nobody else knows. Direct messages and gift wraps go to their
authenticated parties alone (NIP-17, NIP-59).
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Final

from bunker_core.event import Event
from bunker_core.filter import Filter
from bunker_core.kinds import MESSAGES, NOSTR_CONNECT

_SIGNING: Final = frozenset({NOSTR_CONNECT})


class Visibility:
    """The rules of one relay; pubkeys are those as which a client has authenticated."""

    def __init__(self) -> None:
        # Throw-away signers for which the gate is open while a readiness probe runs.
        self.probes: set[str] = set()
        self.configure(signers=frozenset(), guards_messages=True)

    def configure(self, *, signers: frozenset[str], guards_messages: bool) -> None:
        """Take new settings; without `signers` there is no gate."""
        self._signers = signers
        self._gated = bool(signers)
        self.guards_messages = guards_messages

    def refusal(self, filters: Iterable[Filter], pubkeys: AbstractSet[str]) -> str:
        """Return why a client may not ask this, or "": what could only ever be withheld."""
        for item in filters:
            if self._gated and item.kinds == _SIGNING:
                refusal = self._signing_refusal(item, pubkeys)
                if refusal:
                    return refusal
            elif self.guards_messages and not pubkeys and item.kinds and item.kinds <= MESSAGES:
                return "auth-required: messages are for those who wrote or receive them"
        return ""

    def is_open(self, event: Event, item: Filter) -> bool:
        """Tell whether anyone may have `event`, which `item` matches.

        Judged for each event, however the filter came to match it.
        """
        if event.kind == NOSTR_CONNECT:
            if not self._gated:
                return True
            parties = event.tag_values("p")
            if not self._signers.isdisjoint(parties):
                return False
            if event.pubkey in self._signers:
                return item.tag("p") is not None  # it matches, so the recipient is among them
            return item.authors is not None or item.tag("p") is not None  # a probe
        return not (self.guards_messages and event.kind in MESSAGES)

    def sees(self, event: Event, item: Filter, pubkeys: AbstractSet[str]) -> bool:
        """Tell whether a client may have `event`, as for `is_open`."""
        if self.is_open(event, item):
            return True
        return event.pubkey in pubkeys or not pubkeys.isdisjoint(event.tag_values("p"))

    def _signing_refusal(self, item: Filter, pubkeys: AbstractSet[str]) -> str:
        recipients = item.tag("p")
        if recipients is None:
            if not pubkeys:
                return "auth-required: name your own pubkey in #p, or authenticate as one"
            return ""
        if recipients and recipients <= self._signers and recipients.isdisjoint(pubkeys):
            if pubkeys:
                return "restricted: what goes to a signer is for that signer alone"
            return "auth-required: authenticate as the signer that you listen for"
        return ""
