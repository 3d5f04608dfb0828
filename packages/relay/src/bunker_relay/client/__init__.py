"""One client's WebSocket: the protocol without I/O, the connection, what waits to be sent to it."""
