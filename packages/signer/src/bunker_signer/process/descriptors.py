"""File descriptors: as many as the system allows, shared so that no door starves another."""

import resource
from typing import Final

# More serves nobody, and a hard limit without end would make tables of a gigabyte.
WANTED: Final = 65_536
# Of the limit, what strangers at the web pages may hold together. The rest is for relays, the
# database, the key files and the control socket.
SHARE: Final = 4


def raise_limit() -> int:
    """Raise the soft limit of open files to the hard one, WANTED at most; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft if soft != resource.RLIM_INFINITY else WANTED
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # macOS has a limit below its own hard one
        return soft
    return wanted


def share(most: int) -> int:
    """Return how many connections a web page may hold, `most` at most."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if soft == resource.RLIM_INFINITY else max(16, min(most, soft // SHARE))
