"""What the fast path uses of uvicorn and websockets, and whether what is installed has it."""

from typing import Final

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import Protocol

# What `FastPathProtocol` and its bases use of uvicorn and websockets.
METHODS: Final = (
    "connection_lost", "data_received", "eof_received", "handle_close", "handle_cont",
    "handle_parser_exception", "handle_ping", "keepalive_timeout", "receive", "resume_writing",
    "run_asgi", "send", "send_500_response", "send_keepalive_ping", "send_receive_event_to_app",
    "shutdown", "start_keepalive",
)  # fmt: skip
_ATTRIBUTES: Final = (
    "app", "client", "close_sent", "close_timer", "config", "conn", "connections",
    "curr_msg_data_type", "frames", "handshake_complete", "handshake_initiated", "ping_timeout",
    "pong_timer", "queue", "read_paused", "scheme", "server", "transport", "writable",
)  # fmt: skip
_PARSER: Final = ("current_size", "parse", "parser", "reader", "state")


def lacking() -> list[str]:
    """Return what the installed uvicorn and websockets do not have of what is used here.

    With anything on it the relay takes the ordinary way: a release of uvicorn that mends a fault
    need not wait for us.
    """
    known = WebSocketsSansIOProtocol
    set_by = {*known.__init__.__code__.co_names}
    parser = {*Protocol.__init__.__code__.co_names, *vars(Protocol)}
    return [
        *(name for name in METHODS if not callable(getattr(known, name, None))),
        *(name for name in _ATTRIBUTES if name not in set_by),
        *(name for name in _PARSER if name not in parser),
    ]
