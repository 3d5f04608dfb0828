"""The bunker: a NIP-46 remote signer whose key lies sealed in an NSE."""

__version__ = "0.1.0"
