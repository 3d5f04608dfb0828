"""`python -m bunker`, for when the script is not on the PATH."""

from bunker.cli import main

if __name__ == "__main__":
    main(prog_name="bunker")
