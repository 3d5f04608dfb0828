"""The `bunker` command: what is installed of relay, signer and client, under one name."""

__version__ = "0.1.0"
