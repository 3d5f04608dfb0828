"""A NIP-01 relay for remote signing: forwards signing requests in memory, keeps what is meant to
be kept in SQLite.
"""

__version__ = "0.1.0"
