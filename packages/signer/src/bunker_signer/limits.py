"""How often something may happen, and how much of it is remembered."""

from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")


class TokenBucket:
    """`burst` at once, then `rate` a second. Time is an argument, in seconds."""

    __slots__ = ("_burst", "_rate", "_tokens", "_updated")

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._updated: float | None = None

    def take(self, now: float) -> bool:
        """Use one token if there is one; return whether there was."""
        if self._updated is not None and now > self._updated:
            self._tokens = min(self._burst, self._tokens + (now - self._updated) * self._rate)
        self._updated = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Recent(Generic[Value]):
    """The `capacity` values that were used last."""

    __slots__ = ("_capacity", "_values")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._values: OrderedDict[str, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: str) -> Value | None:
        """Return the value of `key`, which counts as a use."""
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def holds(self, key: str, value: Value) -> bool:
        """Tell whether `value` is still kept as `key`; this is no use of it."""
        return self._values.get(key) is value

    def put(self, key: str, value: Value) -> Value | None:
        """Keep a value; return the one that goes for it, if any: its forerunner, or the oldest."""
        before = self._values.get(key)
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._capacity:
            before = self._values.popitem(last=False)[1]
        return before

    def pop(self, key: str) -> None:
        """Drop a value."""
        self._values.pop(key, None)

    def values(self) -> list[Value]:
        """Return all, the one not used for longest first."""
        return list(self._values.values())
