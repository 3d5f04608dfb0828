"""What a caller of the client has to reckon with.

BunkerError (bunker_core)
└── ClientError
    ├── RelayUnreachable     no relay of the signer can be reached
    │   └── RelayRefused     every relay that can be reached refuses the request
    │       └── RequestTooLarge  it is larger than any of them takes
    ├── SignerOffline        the relay says that nobody is listening for the request
    ├── RequestTimeout       no answer in time; says which step was the last to succeed
    │   └── WaitingForApproval   the signer's owner has not decided in time
    ├── RequestDenied        the signer answered with an error
    │   ├── SignerLocked     its owner has to unlock it first
    │   ├── MethodUnknown    it does not know the method
    │   ├── ClockOff         it says that this machine's clock is off
    │   └── AnswerTooLarge   its answer is larger than the relay takes
    ├── InvalidReply         the signer answered with something that is not what was asked
    ├── PairingFailed        the connection could not be made
    ├── SessionError         a kept session can't be read, written or found
    ├── ConnectionEnded      the signer was used after its context was left
    ├── InvalidURI           the URI can't be used (also bunker_core's InvalidURI)
    └── InvalidRequest       an event, a pubkey or a text that can't be asked for
                             (also bunker_core's InvalidEvent and InvalidEntity)
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bunker_core import errors as core
from bunker_core.errors import BunkerError


class ClientError(BunkerError):
    """Root of the client's errors."""


class RelayUnreachable(ClientError):
    """None of the relays can be reached; the text names each and why."""


class RelayRefused(RelayUnreachable):
    """No relay takes the request: blocked, restricted, too large. Each is quoted."""


class RequestTooLarge(RelayRefused):
    """The request is larger than every relay takes: nothing was sent. The text has the sizes."""


class SignerOffline(ClientError):
    """The relays are there, and nobody listens there for the signer."""

    def __init__(self, method: str, relays: str) -> None:
        super().__init__(method, relays)
        self.method = method
        self.relays = relays

    def __str__(self) -> str:
        return f"{self.method}: the signer is offline: nobody is listening at {self.relays}"


class RequestTimeout(ClientError):
    """The signer did not answer in `timeout` seconds; `waited_for` says what was missing."""

    def __init__(self, method: str, timeout: float, waited_for: str) -> None:
        super().__init__(method, timeout, waited_for)
        self.method = method
        self.timeout = timeout
        self.waited_for = waited_for

    def __str__(self) -> str:
        return f"{self.method}: no answer within {self.timeout:g} s; {self.waited_for}"


class WaitingForApproval(RequestTimeout):
    """The signer waits for its owner, and the time for that is over.

    `auth_url` is the page where they can still agree, if the signer named one. `known` is False
    when the signer has never answered this method: some are silent to what they do not know.
    """

    def __init__(
        self, method: str, timeout: float, auth_url: str | None, known: bool = True
    ) -> None:
        where = f"at {auth_url}" if auth_url else "at the signer"
        doubt = "" if known or auth_url else f", or the signer does not know {method}"
        super().__init__(method, timeout, f"the request waits to be approved {where}{doubt}")
        self.auth_url = auth_url
        self.known = known

    def __reduce__(self) -> tuple[type, tuple[str, float, str | None, bool]]:
        return (type(self), (self.method, self.timeout, self.auth_url, self.known))


class RequestDenied(ClientError):
    """The signer answered with an error. `reason` is its text, from a stranger: show it quoted."""

    def __init__(self, method: str, reason: str) -> None:
        super().__init__(method, reason)
        self.method = method
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.method}: the signer says {self.reason!r}"


class SignerLocked(RequestDenied):
    """The signer is there, but its key is locked: its owner has to unlock it."""


class MethodUnknown(RequestDenied):
    """The signer does not know this method."""


class ClockOff(RequestDenied):
    """This machine's clock is off; the signer's text says by how much."""


class AnswerTooLarge(RequestDenied):
    """The answer is larger than the signer's relays take; the signer's text has the sizes."""


class InvalidReply(ClientError):
    """The signer's answer is not what was asked: a wrong event, a bad signature, no pubkey."""


class PairingFailed(ClientError):
    """The connection to the signer could not be made."""


class SessionError(ClientError):
    """A kept session can't be read, written or found; the text says what to do."""


class ConnectionEnded(ClientError):
    """The signer is used outside of its context: before it is entered, or after it was left."""


class InvalidURI(ClientError, core.InvalidURI):
    """A bunker:// or nostrconnect:// URI, a name or a relay URL that can't be used."""


class InvalidRequest(ClientError, core.InvalidEvent, core.InvalidEntity):
    """What was to be signed, encrypted or decrypted is none; nothing was sent."""


@contextmanager
def client_errors() -> Iterator[None]:
    """Raise what bunker_core says of the caller's input as an error of this tree."""
    try:
        yield
    except ClientError:
        raise
    except core.InvalidURI as error:
        raise InvalidURI(str(error)) from None
    except core.InvalidInput as error:
        raise InvalidRequest(str(error)) from None


def denial(method: str, reason: str) -> RequestDenied:
    """Return the error that a signer's error text stands for."""
    said = reason.lower()
    kind = next((kind for kind, known in _KINDS if known.match(said)), RequestDenied)
    return kind(method, reason)


# Our signer's words, and what others say in the same case.
_KINDS: Final[tuple[tuple[type[RequestDenied], re.Pattern[str]], ...]] = (
    (SignerLocked, re.compile(r"locked:|(signer is )?locked$")),
    (
        MethodUnknown,
        re.compile(r"(unsupported:|(unsupported|unknown) method|method (not found|not supported))"),
    ),
    (ClockOff, re.compile(r"invalid: your clock is ")),
    (AnswerTooLarge, re.compile(r"invalid: too large for the relay")),
)
