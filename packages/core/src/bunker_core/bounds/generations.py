"""Values by key in bounded memory, the oldest forgotten together."""

from collections.abc import Iterator
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Generations(Generic[Value]):
    """Keep at least the last `capacity` keys that were put or used, and at most twice as many.

    Two generations: when the young one is full it becomes the old one, and the old one goes.
    Cheaper than an ordered dict that evicts one by one, and exact about what it promises.
    """

    __slots__ = ("_capacity", "_old", "_young")

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError("capacity must be at least 1")
        self._capacity = capacity
        self._young: dict[str, Value] = {}
        self._old: dict[str, Value] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._young or key in self._old

    def __len__(self) -> int:
        return len(self._young) + sum(key not in self._young for key in self._old)

    def get(self, key: str) -> Value | None:
        """Return the value of `key`; this is no use of it."""
        value = self._young.get(key)
        return self._old.get(key) if value is None else value

    def use(self, key: str) -> Value | None:
        """Return the value of `key`, kept from now on as if it had just been put."""
        value = self._young.get(key)
        if value is None:
            value = self._old.get(key)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: str, value: Value) -> None:
        """Keep a value, the newest of all."""
        if len(self._young) >= self._capacity and key not in self._young:
            self._old = self._young
            self._young = {}
        self._young[key] = value

    def values(self) -> Iterator[Value]:
        """Yield every value once."""
        yield from self._young.values()
        yield from (value for key, value in self._old.items() if key not in self._young)
