"""A rotation: a key that a master key opened is moved to a new one, and the old one opens nothing.

    python examples/nse_rotation.py keys old-master.key new-master.key

What a thief of the old master key needs too is the file as it was. So the new master key gets a
slot, the old slot goes, and the data key is replaced: with an old copy of the file alone the key
is as safe as it was, and the new file has nothing that the old one had. A version 1 file
(nostr-secure-enclave) is migrated first. The public key stays; a stolen private key is replaced by
a new identity alone.
"""

# ruff: noqa: T201 -- printing is what an example is for

import sys
from pathlib import Path

from bunker_core.event import EventTemplate, verify
from bunker_signer.nse import NSE, FileStorage, NSEError, harden_process
from bunker_signer.nse.wrap.master_key import MasterKey


def main(directory: Path, old_file: Path, new_file: Path) -> None:
    """Move the key in `directory` from one master key to the other, and sign once to prove it."""
    harden_process()
    storage = FileStorage(directory)
    old, new = MasterKey.from_file(old_file), MasterKey.from_file(new_file)
    with NSE(storage=storage, protector=old) as nse:
        if not nse.slots():
            nse.migrate()
        before = {slot.id for slot in nse.slots() if slot.type == old.type}
        added = nse.add_slot(new)
    with NSE(storage=storage, protector=new) as nse:
        for slot_id in before:
            nse.remove_slot(slot_id)
        nse.rotate()
        verify(nse.sign(EventTemplate(22242, "rotation test, not published")))
        print(f"{nse.get_npub()} opens by slot {added.id} now; remove {old_file} everywhere")


if __name__ == "__main__":
    try:
        main(*map(Path, sys.argv[1:4]))
    except NSEError as error:
        sys.exit(f"error: {error}")
