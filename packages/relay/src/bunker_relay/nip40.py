"""NIP-40: the time at which an event's author wants it gone."""

from bunker_core.event import MAX_TIMESTAMP, Event


def expiration(event: Event) -> int | None:
    """Return the Unix time of the `expiration` tag; None without one or when it is no number."""
    for value in event.tag_values("expiration"):
        if value.isascii() and value.isdecimal() and len(value) <= 16:
            return min(int(value), MAX_TIMESTAMP)
    return None
