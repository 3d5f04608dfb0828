"""Telling systemd how it stands: the protocol of sd_notify(3), a datagram to a socket."""

import os
import socket


def notify(state: str, address: str | None = None) -> bool:
    """Send `state` (such as READY=1) to systemd; return whether there was one to tell.

    `address` is $NOTIFY_SOCKET unless given.
    """
    target = os.environ.get("NOTIFY_SOCKET") if address is None else address
    if not target:
        return False
    # An abstract socket's name starts with a zero byte, written as @.
    name = "\0" + target[1:] if target.startswith("@") else target
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)  # whoever does not read is not waited for
            channel.connect(name)
            channel.sendall(state.encode())
    except OSError:
        return False
    return True


def watchdog_interval() -> float | None:
    """Return the seconds between two signs of life that systemd wants, half of its patience."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 2e6 if microseconds.isdigit() and int(microseconds) else None
