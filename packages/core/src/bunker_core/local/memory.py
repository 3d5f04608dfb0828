"""What a long-lived process does once it has started: keep what is loaded, give back the rest."""

import ctypes
import gc


def settle() -> None:
    """Take what is loaded out of later collections, and return freed memory to the system.

    glibc keeps what was freed below something that is still used; elsewhere nothing is returned.
    """
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # malloc_trim(3)
    if trim is not None:
        trim(0)
