"""The client's commands: pair, sign, publish, encrypt, decrypt, whoami, sessions, doctor.

What they share is in `common.py`. Each reads standard input, writes its result to standard output
and everything for people to standard error, so that they pipe.
"""
