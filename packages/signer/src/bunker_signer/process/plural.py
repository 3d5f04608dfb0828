"""Numbers in sentences for a person."""


def counted(number: int, noun: str) -> str:
    """Return "1 request", "2 requests"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
