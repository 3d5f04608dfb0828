"""Waking a signer that sleeps in a browser: Web Push, sent by the relay itself.

webpush.py        one message encrypted and signed (RFC 8291, RFC 8292); pure
subscriptions.py  whom to wake where, on disk, with its bounds
send.py           the request to a push service, to public addresses alone
waker.py          who is woken when, and how often
"""
