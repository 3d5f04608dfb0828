"""Connections to relays, as signer and client share them.

`protocol.py` is the protocol without I/O, `connection.py` one relay, `pool.py` several as one;
`frame_limit.py` how large a frame may be, `document.py` what is fetched over HTTP.
"""

from bunker_core.pool.connection import ConnectionState
from bunker_core.pool.pool import RelayPool
from bunker_core.pool.publication import Publication, Receipt
from bunker_core.pool.subscription import Incoming, Subscription

__all__ = [
    "ConnectionState",
    "Incoming",
    "Publication",
    "Receipt",
    "RelayPool",
    "Subscription",
]
