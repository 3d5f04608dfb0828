"""The Nostr protocol for remote signing, one NIP a file and no I/O outside `bunker_core.pool`."""

__version__ = "0.1.0"
