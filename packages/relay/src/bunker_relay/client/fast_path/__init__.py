"""The fast path: text messages go from uvicorn's WebSocket protocol straight to the relay's.

Between a socket and an ASGI application stand a queue, a task switch, two dicts and a pause of
reading for every message: more than the relay itself takes for an event, but for the signature.
Once the relay has accepted a connection it attaches to this class instead, which calls it for each
message as it is read. All else stays uvicorn's: handshake, pings, closing, and every frame that is
not one whole, masked text message, for that one goes to the same parser as ever.

`server` offers the fast path; without it, or under another server, the relay speaks ASGI.
"""

from bunker_relay.client.fast_path.attached import EXTENSION, FastPathProtocol
from bunker_relay.client.fast_path.frames import LARGE
from bunker_relay.client.fast_path.uvicorn import lacking

__all__ = ["EXTENSION", "LARGE", "FastPathProtocol", "lacking"]
