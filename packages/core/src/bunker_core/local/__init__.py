"""This machine: private files, locks, sockets, processes, systemd. No protocol, no network."""
