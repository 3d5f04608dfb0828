"""The one error of the NSE and its codes, named as in the reference package.

BunkerError               (see bunker_core.errors)
└── NSEError              `code` says which of NSEErrorCode it is
"""

from enum import StrEnum

from bunker_core.errors import BunkerError


class NSEErrorCode(StrEnum):
    """What went wrong, for a program to act on; the values are the reference package's.

    SIGN_FAILED stands for everything that an opened key was asked for and could not do: a bad
    event, a peer pubkey that is none, a plaintext too long to encrypt.
    """

    KEY_NOT_FOUND = "KEY_NOT_FOUND"
    AUTH_FAILED = "AUTH_FAILED"
    HARDWARE_UNAVAILABLE = "HARDWARE_UNAVAILABLE"
    KEY_EXISTS = "KEY_EXISTS"
    DECRYPTION_FAILED = "DECRYPTION_FAILED"
    STORAGE_ERROR = "STORAGE_ERROR"
    SIGN_FAILED = "SIGN_FAILED"


class NSEError(BunkerError):
    """One line that says what failed and what to do; never a key, a passphrase or a plaintext."""

    def __init__(self, message: str, code: NSEErrorCode) -> None:
        super().__init__(message)
        self.code = code
