"""What a person is told when something can't be done."""

from bunker_core.errors import BunkerError


class Problem(BunkerError):
    """What was asked can't be done; `key` is the sentence that says why."""

    def __init__(self, key: str, status: int = 400, **values: object) -> None:
        super().__init__(key)
        self.key = key
        self.status = status
        self.values = values
