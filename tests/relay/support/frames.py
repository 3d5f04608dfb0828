"""A place for frames that keeps everything: what a subscription has sent."""


class Frames:
    """A sink of `bunker_relay.event.hub`."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.reserved = 0

    def put(self, frame: bytes) -> None:
        """Keep a frame."""
        self.frames.append(frame)

    def reserve(self, size: int) -> None:
        """Count what is held back."""
        self.reserved += size
