"""`bunker up`: an installation, made and run."""
