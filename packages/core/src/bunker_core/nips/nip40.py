"""NIP-40: the time at which an event's author wants it gone."""

from bunker_core.event import MAX_TIMESTAMP, Event


def expiration(event: Event) -> int | None:
    """Return the Unix time of the `expiration` tag; None without one or when it is no number."""
    for tag in event.tags:
        if len(tag) > 1 and tag[0] == "expiration":
            value = tag[1]
            if value.isascii() and value.isdecimal() and len(value) <= 16:
                return min(int(value), MAX_TIMESTAMP)
    return None
