"""Cases for remote signers (NIP-46), a file a chapter."""

from typing import Final

from bunker.conformance.case import Case, cases_in
from bunker.conformance.signer import connect, errors, ids, methods, relays, wire

CASES: Final[tuple[Case, ...]] = cases_in((connect, methods, errors, ids, wire, relays))
