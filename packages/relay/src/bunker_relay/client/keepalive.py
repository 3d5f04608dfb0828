"""Pings by which a slow client is not taken for a dead one.

On a slow link a ping waits behind what was sent before it, in our buffers and the kernel's: a
client that takes 8 MB at 50 KB/s answers after minutes. As long as it takes something, it lives.
"""

import asyncio
import fcntl
import socket
import struct
import sys
from typing import Final

from bunker_relay.client.bounded import BoundedProtocol

# Linux: struct tcp_info, of which tcpi_bytes_acked is the 64-bit number at byte 120.
_INFO_BYTES: Final = 128
_ACKED: Final = struct.Struct("=120xQ")
_OUTQ: Final = 0x5411  # SIOCOUTQ: bytes that the kernel has and the peer has not acknowledged
_COUNT: Final = struct.Struct("=i")


class PatientProtocol(BoundedProtocol):
    """uvicorn's WebSocket, which waits for a pong as long as there is progress."""

    _taken = 0  # bytes that the client had taken at the last look
    _behind = 0  # bytes that it has taken when the ping is among them

    def send_keepalive_ping(self) -> None:
        """Send a ping, and note what it waits behind."""
        super().send_keepalive_ping()
        self._taken, waiting = _progress(self.transport)
        self._behind = self._taken + waiting

    def keepalive_timeout(self) -> None:
        """Close, unless the client has taken something and the ping had not reached it."""
        taken, _ = _progress(self.transport)
        if self.ping_timeout is not None and self._taken < min(taken, self._behind):
            self._taken = taken
            self.pong_timer = self.loop.call_later(self.ping_timeout, self.keepalive_timeout)
            return
        unread = self.transport.get_write_buffer_size()
        super().keepalive_timeout()
        if unread:  # a gentle end would wait for this client to read
            self.transport.abort()


def _progress(transport: asyncio.Transport) -> tuple[int, int]:
    """Return how many bytes the peer has taken so far, and how many are on their way.

    Where the kernel does not tell, the first number only grows as our own buffer gets emptier.
    """
    waiting = transport.get_write_buffer_size()
    peer = transport.get_extra_info("socket")
    if peer is None or not sys.platform.startswith("linux"):
        return -waiting, waiting
    try:
        info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
        (acknowledged,) = _ACKED.unpack(info)
        (unsent,) = _COUNT.unpack(fcntl.ioctl(peer.fileno(), _OUTQ, bytes(_COUNT.size)))
    except (OSError, struct.error):  # it has gone, or is a Unix socket
        return -waiting, waiting
    return acknowledged, waiting + unsent
