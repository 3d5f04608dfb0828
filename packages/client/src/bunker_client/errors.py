"""What a caller of the client has to reckon with.

BunkerError (bunker_core)
└── ClientError
    ├── RelayUnreachable   no relay of the signer can be reached
    ├── RequestTimeout     no answer in time; says which step was the last to succeed
    ├── RequestDenied      the signer answered with an error
    ├── InvalidReply       the signer answered with something that is not what was asked
    └── PairingFailed      the connection could not be made
"""

from bunker_core.errors import BunkerError


class ClientError(BunkerError):
    """Root of the client's errors."""


class RelayUnreachable(ClientError):
    """None of the relays can be reached; the text names each and why."""


class RequestTimeout(ClientError):
    """The signer did not answer in `timeout` seconds; `waited_for` says what was missing."""

    def __init__(self, method: str, timeout: float, waited_for: str) -> None:
        super().__init__(method, timeout, waited_for)
        self.method = method
        self.timeout = timeout
        self.waited_for = waited_for

    def __str__(self) -> str:
        return f"{self.method}: no answer within {self.timeout:g} s; {self.waited_for}"


class RequestDenied(ClientError):
    """The signer answered with an error. `reason` is its text, from a stranger: show it quoted."""

    def __init__(self, method: str, reason: str) -> None:
        super().__init__(method, reason)
        self.method = method
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.method}: the signer says {self.reason!r}"


class InvalidReply(ClientError):
    """The signer's answer is not what was asked: a wrong event, a bad signature, no pubkey."""


class PairingFailed(ClientError):
    """The connection to the signer could not be made."""
