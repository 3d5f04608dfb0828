"""This machine: private files, the peers of Unix sockets, the terminal. No protocol, no network."""
