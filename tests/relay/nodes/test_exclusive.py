"""The address that a relay takes before it serves anybody."""

import contextlib
import socket
from typing import Final

from bunker_relay.nodes.exclusive import bind

CLIENTS: Final = 300
PATIENCE: Final = 10.0  # seconds


def test_clients_that_come_during_the_start_are_let_in() -> None:
    """After a restart all clients come back at once, before the relay accepts the first one."""
    with contextlib.ExitStack() as stack:
        (listener,) = bind("127.0.0.1", 0)
        stack.enter_context(listener)
        for _ in range(CLIENTS):
            stack.enter_context(socket.create_connection(listener.getsockname(), PATIENCE))
