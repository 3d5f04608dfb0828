"""The signer that runs in a phone's browser: the page's files, and what serves and admits them."""

__version__ = "0.1.0"
