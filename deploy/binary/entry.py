"""The single executable: `bunker`, or `-m MODULE` for a process that it starts itself."""

import runpy
import sys

# What `bunker_core.local.process.module_command` is asked for. Nothing else: the executable is no
# Python for whoever finds it.
MODULES = (
    "bunker",
    "bunker.up.serve",
    "bunker_client.nip07",
    "bunker_relay",
    "bunker_signer",
    "bunker_signer.qr.child",
)

if sys.argv[1:2] == ["-m"] and sys.argv[2:3] and sys.argv[2] in MODULES:
    module = sys.argv[2]
    sys.argv = [sys.argv[0], *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__")
else:
    from bunker.cli import main

    main(prog_name="bunker")
