"""The protocol, one NIP a file, and what several of them use."""
