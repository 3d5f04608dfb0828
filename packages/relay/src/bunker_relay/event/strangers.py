"""Who is a stranger to whom they write to: their signing requests share a rate by address.

A signer looks into a few hundred events of strangers a second, as a new app is one. Junk of one
address must leave it time for the others.
"""

from typing import Final

from bunker_core.bounds.generations import Generations
from bunker_core.bounds.rate import Buckets, FixedRate
from bunker_core.event import Event
from bunker_relay.config import Config

_REMEMBERED: Final = 20_000  # pubkeys, or pairs of them; twice as many at most: 8 MB
# Without `signers` whoever meets somebody for the first time is a stranger, a signer too.
_OPEN_TO_ALL: Final = 10


class Strangers:
    """Remembers who was answered. Kind 24133 alone comes here.

    With `signers`, whom one of them has answered is no stranger. Without, of each two that write to
    each other both have to have written.
    """

    def __init__(self, config: Config) -> None:
        # The value is the first of two who wrote, or True when both have; always True for `signers`
        self._met: Generations[str | bool] = Generations(_REMEMBERED)
        self.rates: Final = Buckets(config.rates.strangers_per_ip)  # by address
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Take new settings."""
        self._signers = frozenset(config.signers)
        rate = config.rates.strangers_per_ip
        times = 1 if config.signers else _OPEN_TO_ALL
        self.rates.configure(FixedRate(rate.per_second * times, rate.burst * times))

    def look(self, event: Event) -> str | bool | None:
        """Return what is known of an event's author and recipient, for `is_stranger` and `met`."""
        if self._signers:
            return event.pubkey in self._signers or self._met.get(event.pubkey)
        return self._met.use(_pair(event))

    def is_stranger(self, event: Event, known: str | bool | None) -> bool:
        """Tell whether the author has no answer of whom they write to yet."""
        return known is not True and (not known or known == event.pubkey)

    def met(self, event: Event, known: str | bool | None) -> None:
        """Note an event that holds; `known` is what `look` said of it."""
        if self._signers:
            if event.pubkey in self._signers:
                for pubkey in event.tag_values("p")[:1]:
                    self._met.put(pubkey, True)
        elif known is not True and known != event.pubkey:
            self._met.put(_pair(event), event.pubkey if known is None else True)


def _pair(event: Event) -> str:
    """Return a name for author and recipient, whoever is which, by 128 bits of each."""
    one = event.pubkey
    for tag in event.tags:
        if len(tag) > 1 and tag[0] == "p":
            other = tag[1]
            return one[:32] + other[:32] if one < other else other[:32] + one[:32]
    return one
