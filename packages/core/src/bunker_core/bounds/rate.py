"""How often something may happen: token buckets, one alone or one for each key."""

from math import inf
from typing import Final, NamedTuple, Protocol

from bunker_core.bounds.generations import Generations

KEYS: Final = 50_000  # buckets remembered, twice as many at most: some 20 MB


class Rate(Protocol):
    """`burst` at once, then `per_second`."""

    @property
    def per_second(self) -> float: ...
    @property
    def burst(self) -> float: ...


class FixedRate(NamedTuple):
    """A `Rate` that is no setting."""

    per_second: float
    burst: float


class TokenBucket:
    """`burst` tokens at first, and `per_second` more up to as many again.

    Time is an argument, in seconds of any clock; one that is set back adds nothing and takes
    nothing away.
    """

    __slots__ = ("_at", "_burst", "_per_second", "_tokens")

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = burst
        self._at = inf  # when the tokens were counted last; at first nothing is to be added

    def configure(self, per_second: float, burst: float) -> None:
        """Take a new rate; the tokens stay, up to the new size."""
        self._per_second = per_second
        self._burst = burst

    def take(self, now: float) -> bool:
        """Take a token; False when there is none."""
        tokens, at, self._at = self._tokens, self._at, now
        if now > at:
            tokens += (now - at) * self._per_second
        if tokens > self._burst:
            tokens = self._burst
        if tokens < 1:
            self._tokens = tokens
            return False
        self._tokens = tokens - 1
        return True

    def holds(self, now: float) -> bool:
        """Tell whether there is a token to take."""
        return self.take(now) and self.give_back()

    def give_back(self) -> bool:
        """Undo the latest `take` that was allowed; always True."""
        self._tokens += 1
        return True


class Buckets(Generations[TokenBucket]):
    """One token bucket for each key.

    A key that nobody used for as long as it takes 50,000 others to come by is forgotten, which
    fills its bucket.
    """

    __slots__ = ("_rate",)

    def __init__(self, rate: Rate, keys: int = KEYS) -> None:
        super().__init__(keys)
        self._rate = rate

    def configure(self, rate: Rate) -> None:
        """Take a new rate; what is in the buckets stays, up to the new size."""
        self._rate = rate
        for bucket in self.values():
            bucket.configure(rate.per_second, rate.burst)

    def take(self, key: str, now: float) -> bool:
        """Take a token from the bucket of `key` at `now` (seconds); False when it is empty."""
        bucket = self._young.get(key)  # in most cases; without a call, for every event asks twice
        if bucket is None:
            bucket = self.use(key)
        if bucket is None:
            bucket = TokenBucket(self._rate.per_second, self._rate.burst)
            self.put(key, bucket)
        return bucket.take(now)

    def holds(self, key: str, now: float) -> bool:
        """Tell whether there is a token to take; a key that was never used costs no memory."""
        bucket = self.get(key)
        return bucket is None or bucket.holds(now)

    def give_back(self, key: str) -> None:
        """Undo the latest `take` of `key`, which was allowed."""
        bucket = self.get(key)
        if bucket is not None:
            bucket.give_back()
