"""Backups: an installation in one file, and back, without what opens it."""
