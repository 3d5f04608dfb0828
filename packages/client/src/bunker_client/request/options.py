"""What every way to a remote signer takes."""

from collections.abc import Callable
from typing import TypedDict

from bunker_client.request.progress import Progress


class Options(TypedDict, total=False):
    """What every way to a remote signer takes; times are seconds.

    `timeout` is machine time: a round trip. `approval_timeout` is the owner's time to agree once
    the signer has the request. `offline_timeout` is how long a signer may be offline before
    SignerOffline: 0 raises it at once, None waits as long as `timeout`. `on_auth_url` is called
    with a page where the owner has to agree, `on_progress` with every step of every request; both
    on the event loop. `relay_check_interval` is how often the signer is asked for its relays.
    `accept_created_at` takes an event that the signer gave another time and changed nowhere else.
    """

    timeout: float
    approval_timeout: float
    offline_timeout: float | None
    on_auth_url: Callable[[str], None] | None
    on_progress: Callable[[Progress], None] | None
    relay_check_interval: float
    accept_created_at: bool
    clock: Callable[[], float]
