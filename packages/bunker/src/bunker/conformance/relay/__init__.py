"""Cases for relays in the role that NIP-46 gives them, a file a chapter."""

from typing import Final

from bunker.conformance.case import Case, cases_in
from bunker.conformance.relay import (
    auth,
    document,
    events,
    filters,
    hostile,
    load,
    restart,
    signing,
    size,
    subscriptions,
)

CASES: Final[tuple[Case, ...]] = cases_in(
    (signing, size, events, subscriptions, filters, auth, document, hostile, load, restart)
)
