"""Cases for clients (NIP-46), a file a chapter."""

from typing import Final

from bunker.conformance.case import Case, cases_in
from bunker.conformance.client import answers, errors, forged, login, relays, wire

CASES: Final[tuple[Case, ...]] = cases_in((login, wire, answers, errors, forged, relays))
