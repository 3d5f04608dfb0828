"""A neutral load generator for relays and remote signers; `python -m bench --help`.

`load` is what it speaks and sends, `relay` and `signer` what is measured of each, `peers` the
programs of others, and `gate` what must not get worse.
"""
