"""A bot: a key that is made at the first run and signs one note a run, unattended.

    head -c 32 /dev/urandom > master.key && chmod 600 master.key
    python examples/nse_bot.py master.key keys "good morning"

The bot opens its key with a master key in a file: keep that on another disk than the sealed key,
or hand it over as a systemd credential (MasterKey.from_credential). It prints the event as JSON,
for any tool that publishes events.
"""

# ruff: noqa: T201 -- printing is what an example is for

import sys
import time
from pathlib import Path

from bunker_signer.nse import NSE, FileStorage, NostrEvent, NSEError, harden_process
from bunker_signer.nse.wrap.master_key import MasterKey


def main(master_key: Path, directory: Path, text: str) -> None:
    """Sign `text` as a kind-1 note and print it."""
    harden_process()
    protector = MasterKey.from_file(master_key)
    with NSE(storage=FileStorage(directory), protector=protector) as nse:
        if not nse.exists():
            print(f"made {nse.generate().npub}", file=sys.stderr)
        note = NostrEvent(kind=1, content=text, tags=[], created_at=int(time.time()))
        print(nse.sign(note).to_json().decode())


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    except NSEError as error:
        sys.exit(f"error: {error}")
