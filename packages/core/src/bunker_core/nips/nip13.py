"""NIP-13: proof of work, counted in leading zero bits of the event id."""

from typing import Final

from bunker_core.event import Event

_DIGITS: Final = 3  # 256 is the most


def difficulty(event_id: str) -> int:
    """Return the number of leading zero bits."""
    return 256 - int(event_id, 16).bit_length()


def refusal(event: Event, least: int) -> str:
    """Return why the work does not reach `least` bits, or ""."""
    done = difficulty(event.id)
    if done < least:
        return f"pow: difficulty {done} is less than {least}"
    for tag in event.tags:
        if len(tag) > 2 and tag[0] == "nonce":
            # A lower commitment means that luck, not work, brought the id this far.
            target = tag[2]
            is_number = target.isascii() and target.isdecimal() and len(target) <= _DIGITS
            committed = int(target) if is_number else 0
            if committed < least:
                return f"pow: committed difficulty {committed} is less than {least}"
    return ""
