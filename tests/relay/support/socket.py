"""A connection without a socket: its frames, and what becomes of it."""

import asyncio
from typing import Any

import uvicorn

ADDRESS = "192.0.2.1"
TEXT = 1


class Socket(asyncio.Transport):
    """What is written, whether it reads, and how it ended."""

    def __init__(self, address: str = ADDRESS) -> None:
        super().__init__({"peername": (address, 5)})
        self.written = b""
        self.waiting = 0  # bytes that its peer has not read
        self.reads = True
        self.ended = ""
        self.protocol: asyncio.BaseProtocol | None = None  # what has taken it over

    def write(self, data: Any) -> None:
        self.written += data

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def is_closing(self) -> bool:
        return bool(self.ended)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        return


def frame(payload: bytes, opcode: int = TEXT, *, whole: bool = True) -> bytes:
    """Return a masked frame."""
    mask, size = b"\x01\x02\x03\x04", len(payload)
    head = bytes([opcode | (0x80 if whole else 0)])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65_536:
        head += b"\xfe" + size.to_bytes(2)
    else:
        head += b"\xff" + size.to_bytes(8)
    full = mask * (size // 4 + 1)
    masked = int.from_bytes(payload) ^ int.from_bytes(full[:size])
    return head + mask + masked.to_bytes(size)


def configured(app: Any, **settings: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app, interface="asgi3", ws_ping_interval=None, log_config=None, **settings
    )
