"""Protectors: who guards the wrapping key of a slot. One small file each, one protocol for all.

A third party adds its own by an entry point of the group `bunker_signer.protectors`, whose name
is the slot type and whose value is a `ProtectorFactory`; ours are registered the same way.
"""

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Final, Protocol

from bunker_core.local.extras import how_to_install
from bunker_signer.nse.blob import Params
from bunker_signer.nse.errors import NSEError, NSEErrorCode

GROUP: Final = "bunker_signer.protectors"


class Protector(Protocol):
    """Makes the 32-byte wrapping key of a new slot, and finds it again.

    `key` is a slice of the enclave's page; it is wiped by the enclave. Failures are NSEErrors:
    AUTH_FAILED for a wrong secret, HARDWARE_UNAVAILABLE for a device, service or library that
    can't be reached, STORAGE_ERROR for parameters that can't be right.
    """

    @property
    def type(self) -> str:
        """The slot type that this protector makes and opens."""
        ...

    @property
    def hardware(self) -> bool:
        """Whether the wrapping key is guarded by hardware that does not hand out its own key."""
        ...

    @property
    def device_bound(self) -> bool:
        """Whether losing a device or a service loses the slot, so that another one is needed."""
        ...

    def create(self, pubkey: str, key: memoryview) -> Params:
        """Write a fresh wrapping key into `key`; return what `recover` needs, all of it public."""
        ...

    def recover(self, pubkey: str, params: Params, key: memoryview) -> None:
        """Write the wrapping key that `create` made with these `params` into `key`."""
        ...


# Asks the user for a secret by a label such as "PIN"; the asker's caller wipes what it returns.
Ask = Callable[[str], bytearray]
# Makes a protector from options such as {"module": "/usr/lib/..."} and an `Ask` for its secrets.
ProtectorFactory = Callable[[Mapping[str, str], Ask], Protector]


def protector_types() -> list[str]:
    """Return the slot types that are registered on this machine."""
    return sorted(point.name for point in entry_points(group=GROUP))


def make_protector(slot_type: str, options: Mapping[str, str], ask: Ask) -> Protector:
    """Return the protector registered for `slot_type`; raises NSEError for an unknown type."""
    found = entry_points(group=GROUP, name=slot_type)
    if not found:
        raise NSEError(
            f"no protector for slots of type {slot_type!r} is installed here: "
            f"known are {', '.join(protector_types())}",
            NSEErrorCode.HARDWARE_UNAVAILABLE,
        )
    factory: ProtectorFactory = next(iter(found)).load()
    return factory(options, ask)


def missing_library(name: str, extra: str) -> NSEError:
    """Return the error for a protector whose library is not installed."""
    return NSEError(
        f"{name} is not installed: {how_to_install('nostr-bunker-signer', extra)}",
        NSEErrorCode.HARDWARE_UNAVAILABLE,
    )
