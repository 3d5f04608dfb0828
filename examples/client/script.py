"""Sign a note from a script; the signer is named on the first line or in BUNKER_URI."""

import os

from bunker_client import sync_signer_from

with sync_signer_from(os.environ.get("BUNKER_URI", "session:default")) as signer:
    event = signer.sign_event({"kind": 1, "content": "Signed from a script"})
    print(event.to_json().decode())
