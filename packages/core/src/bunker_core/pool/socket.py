"""A WebSocket without queues: a message is handed over as it is read, a turn leaves in one write.

websockets' own connection puts each message into a queue that a task waits at, and each frame that
is sent is a write of its own. For messages of a kilobyte both cost more than the message.
"""

from collections.abc import Callable, Iterable
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosedOK
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import OPEN, Event


class Socket(ClientConnection):
    """What `websockets.connect` makes by `create_connection=Socket`. `recv` is not for use."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._take: Callable[[bytes], None] | None = None
        self._early: list[bytes] = []
        self._partial = bytearray()  # of a message in fragments; its size is the protocol's to cap

    def process_event(self, event: Event) -> None:
        """Take a frame that was read; called by websockets."""
        handshaken = self.response is not None
        if not handshaken or not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
            return
        message = event.data
        if not event.fin or self._partial:
            self._partial += message
            if not event.fin:
                return
            message, self._partial = bytes(self._partial), bytearray()
        if self._take is None:
            self._early.append(bytes(message))
        else:
            self._take(bytes(message))

    async def serve(self, take: Callable[[bytes], None]) -> None:
        """Hand every message to `take`, which must not raise, until the connection is closed.

        Raises ConnectionClosedError unless it was closed in good order.
        """
        early, self._early = self._early, []
        for message in early:
            take(message)
        self._take = take
        await self.wait_closed()
        how = self.protocol.close_exc
        if not isinstance(how, ConnectionClosedOK):
            raise how

    def send_all(self, texts: Iterable[str]) -> None:
        """Send messages in one write, unless the connection is closing."""
        if self.protocol.state is not OPEN:
            return
        for text in texts:
            self.protocol.send_text(text.encode())
        self.transport.write(b"".join(self.protocol.data_to_send()))
