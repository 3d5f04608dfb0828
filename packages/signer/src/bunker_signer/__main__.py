"""`python -m bunker_signer`: `bunker signer` without what looks for all the other commands."""

from bunker_signer.cli import signer

if __name__ == "__main__":
    signer(prog_name="bunker signer")
