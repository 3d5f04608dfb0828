"""Relay, signers and clients inside one process, with faults on demand: for test suites.

    from bunker.testbed import Testbed

    with Testbed() as bed:
        signer = bed.signer(allow="sign_event:1")
        app = bed.client(signer)
        signer.faults.drop("sign_event")
        with pytest.raises(RequestTimeout):
            app.request_signature({"kind": 1, "content": "hello"}, timeout=1)

Everything runs on a thread of its own, so that plain tests and tests on any event loop can use
it; every method blocks until it is done. For pytest there are fixtures (`bunker.pytest_plugin`),
for other languages the command `bunker testbed`.

For tests alone: the keys are throw-away, and the transcript shows what was encrypted.
"""

from bunker.testbed.bed import Testbed
from bunker.testbed.client import Client
from bunker.testbed.faults import Fault, FaultName, Faults
from bunker.testbed.relay import Relay
from bunker.testbed.signer import Signer
from bunker.testbed.transcript import Entry, Transcript

__all__ = [
    "Client",
    "Entry",
    "Fault",
    "FaultName",
    "Faults",
    "Relay",
    "Signer",
    "Testbed",
    "Transcript",
]
