"""The Nostr protocol for remote signing, one NIP a file; only `pool` and `local` do I/O."""

__version__ = "0.1.0"
