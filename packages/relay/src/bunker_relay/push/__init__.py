"""Waking a signer that sleeps in a browser: Web Push, sent by the relay itself.

The message is of bunker_core.nips.webpush: encrypted for the browser, and signed.

subscriptions.py  whom to wake where, on disk, with its bounds
send.py           the request to a push service, to public addresses alone
waker.py          who is woken when, and how often
"""
