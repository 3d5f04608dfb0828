"""`python -m bunker_relay`: `bunker relay` without what looks for all the other commands."""

from bunker_relay.cli import relay

if __name__ == "__main__":
    relay(prog_name="bunker relay")
