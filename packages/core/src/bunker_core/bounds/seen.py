"""Which ids were seen of late, in bounded memory."""


class SeenIds:
    """Remember at least the last `capacity` ids and at most twice as many.

    Two generations of a set: when the young one is full it becomes the old one. Cheaper than an
    ordered dict that evicts one by one, and exact about what it promises.
    """

    __slots__ = ("_capacity", "_old", "_young")

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError("capacity must be at least 1")
        self._capacity = capacity
        self._young: set[str] = set()
        self._old: set[str] = set()

    def __contains__(self, identifier: str) -> bool:
        return identifier in self._young or identifier in self._old

    def add(self, identifier: str) -> bool:
        """Remember `identifier`; return whether it is new."""
        if identifier in self:
            return False
        if len(self._young) >= self._capacity:
            self._old = self._young
            self._young = set()
        self._young.add(identifier)
        return True
