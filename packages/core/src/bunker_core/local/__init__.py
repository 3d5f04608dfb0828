"""This machine: private files, locks, sockets, processes, systemd. Nothing goes elsewhere."""
