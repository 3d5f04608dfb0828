"""A neutral load generator for relays and remote signers; `python -m bench --help`."""
