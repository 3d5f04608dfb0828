"""This machine: private files, locks, memory, sockets, processes, systemd. Nothing leaves it."""
