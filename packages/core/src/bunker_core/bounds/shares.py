"""How much of something each of many holds at a time: requests that wait, bytes of them."""

from typing import Generic, TypeVar

Key = TypeVar("Key")


class Shares(Generic[Key]):
    """What each key holds; keys that hold nothing are not kept."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[Key, int] = {}

    def __len__(self) -> int:
        return len(self._held)

    def take(self, key: Key, amount: int, most: int) -> bool:
        """Hold `amount` more; False, and nothing is taken, if that is more than `most` in all."""
        held = self._held.get(key, 0) + amount
        if held > most:
            return False
        self._held[key] = held
        return True

    def give_back(self, key: Key, amount: int) -> None:
        """Hold `amount` less, of what was taken."""
        left = self._held[key] - amount
        if left:
            self._held[key] = left
        else:
            del self._held[key]

    def total(self) -> int:
        """Return what all hold together."""
        return sum(self._held.values())
