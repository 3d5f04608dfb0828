"""The values that were used last, in bounded memory."""

from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")


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
