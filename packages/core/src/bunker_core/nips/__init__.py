"""The protocol, one NIP a file."""
