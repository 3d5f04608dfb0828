"""The binding of libsecp256k1: `ffi`, `lib`, one context, and the name of where they come from.

coincurve where it is installed, else btclib-secp256k1 (coincurve has no wheels from Python 3.14
on), else the system's own library (Alpine, Termux, distributions). All three speak cffi, and
`bunker_core.keys` is the only module that uses them. BUNKER_LIBSECP256K1 names one of the three
and no other will do; whoever packages this sets it, and so do the tests.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, Final

_CONTEXT_NONE: Final = 1  # SECP256K1_CONTEXT_NONE: good for everything since 0.2
# The names of libsecp256k1 0.2 and later: Linux, Android, macOS with Homebrew or MacPorts.
_LIBRARIES: Final = (
    *(f"libsecp256k1.so.{number}" for number in (6, 5, 2, 1)),
    "libsecp256k1.so",
    "libsecp256k1.dylib",
    "/opt/homebrew/lib/libsecp256k1.dylib",
    "/usr/local/lib/libsecp256k1.dylib",
    "/opt/local/lib/libsecp256k1.dylib",
)
# What we call, in the words of secp256k1.h, secp256k1_ecdh.h, secp256k1_extrakeys.h and
# secp256k1_schnorrsig.h. The opaque types have had these sizes since they exist.
_DECLARATIONS: Final = """
typedef struct secp256k1_context_struct secp256k1_context;
typedef struct { unsigned char data[64]; } secp256k1_pubkey;
typedef struct { unsigned char data[64]; } secp256k1_xonly_pubkey;
typedef struct { unsigned char data[96]; } secp256k1_keypair;
typedef struct { unsigned char magic[4]; void *noncefp; void *ndata; }
  secp256k1_schnorrsig_extraparams;
secp256k1_context *secp256k1_context_create(unsigned int);
int secp256k1_context_randomize(secp256k1_context *, const unsigned char *);
int secp256k1_ec_seckey_verify(const secp256k1_context *, const unsigned char *);
int secp256k1_ec_seckey_tweak_add(
  const secp256k1_context *, unsigned char *, const unsigned char *);
int secp256k1_ec_pubkey_parse(
  const secp256k1_context *, secp256k1_pubkey *, const unsigned char *, size_t);
int secp256k1_ecdh(
  const secp256k1_context *, unsigned char *, const secp256k1_pubkey *, const unsigned char *,
  int(*)(unsigned char *, const unsigned char *, const unsigned char *, void *), void *);
int secp256k1_keypair_create(
  const secp256k1_context *, secp256k1_keypair *, const unsigned char *);
int secp256k1_keypair_xonly_pub(
  const secp256k1_context *, secp256k1_xonly_pubkey *, int *, const secp256k1_keypair *);
int secp256k1_xonly_pubkey_parse(
  const secp256k1_context *, secp256k1_xonly_pubkey *, const unsigned char *);
int secp256k1_xonly_pubkey_serialize(
  const secp256k1_context *, unsigned char *, const secp256k1_xonly_pubkey *);
int secp256k1_schnorrsig_sign32(
  const secp256k1_context *, unsigned char *, const unsigned char *, const secp256k1_keypair *,
  const unsigned char *);
int secp256k1_schnorrsig_sign_custom(
  const secp256k1_context *, unsigned char *, const unsigned char *, size_t,
  const secp256k1_keypair *, secp256k1_schnorrsig_extraparams *);
int secp256k1_schnorrsig_verify(
  const secp256k1_context *, const unsigned char *, const unsigned char *, size_t,
  const secp256k1_xonly_pubkey *);
"""
_READ_SECRETS: Final = (
    "context_randomize",
    "ec_seckey_verify",
    "ec_seckey_tweak_add",
    "ecdh",
    "keypair_create",
    "schnorrsig_sign32",
    "schnorrsig_sign_custom",
)
# An ECDH, which calls back into Python, was measured to go 5 KiB deep, a signature 1 KiB.
_SWEPT_BYTES: Final = 16 * 1024
_FUNCTIONS: Final = tuple(
    line.partition("(")[0].rpartition("secp256k1_")[2]
    for line in _DECLARATIONS.splitlines()
    if line.startswith(("int ", "secp256k1_context *"))
)


def _coincurve() -> tuple[Any, Any]:
    from coincurve._libsecp256k1 import ffi, lib

    return ffi, lib


def _btclib() -> tuple[Any, Any]:
    from _btclib_secp256k1 import ffi, lib

    return ffi, lib


def _system() -> tuple[Any, Any]:
    import cffi

    ffi = cffi.FFI()
    ffi.cdef(_DECLARATIONS)
    for name in _LIBRARIES:
        try:
            return ffi, _Swept(ffi, ffi.dlopen(name))
        except OSError:
            continue
    raise ImportError("the system has no libsecp256k1")


class _Swept:
    """The functions of a library; the stack below one that reads a private key is zeroed behind it.

    Until 0.6 libsecp256k1 cleared its secrets by a memset that compilers leave out: after an ECDH
    the whole private key stood on the stack of the thread, until something else came that deep.
    """

    def __init__(self, ffi: Any, library: Any) -> None:
        # Zeros are handed over by value to a function that takes a number, so the caller puts
        # them on the stack and nobody reads them. The call goes through the same layers as that
        # of libsecp256k1, so they begin where its frames began.
        ffi.cdef(f"typedef struct {{ char bytes[{_SWEPT_BYTES}]; }} swept; int abs(int);")
        sweep = ffi.cast("void(*)(swept)", ffi.dlopen(None).abs)
        zeros = ffi.new("swept *")[0]
        for name in _FUNCTIONS:
            function = getattr(library, f"secp256k1_{name}", None)
            if function is not None:
                if name in _READ_SECRETS:
                    function = _followed(function, partial(sweep, zeros))
                setattr(self, f"secp256k1_{name}", function)


def _followed(function: Callable[..., int], then: Callable[[], None]) -> Callable[..., int]:
    def call(*arguments: Any) -> int:
        result = function(*arguments)
        then()
        return result

    return call


_BINDINGS: Final[dict[str, Callable[[], tuple[Any, Any]]]] = {
    "coincurve": _coincurve,
    "btclib": _btclib,
    "system": _system,
}


def load(wanted: str = "") -> tuple[str, Any, Any]:
    """Return the name of a binding, its `ffi` and its `lib`: `wanted`, or else the first there is.

    Raises ImportError, which says what to install.
    """
    if wanted and wanted not in _BINDINGS:
        raise ImportError(f"BUNKER_LIBSECP256K1 is one of {', '.join(_BINDINGS)}, not {wanted!r}")
    reasons = []
    for name in [wanted] if wanted else _BINDINGS:
        try:
            ffi, lib = _BINDINGS[name]()
            for function in _FUNCTIONS:
                getattr(lib, f"secp256k1_{function}")  # in the system's, modules may be left out
        except (ImportError, AttributeError) as error:
            reasons.append(f"{name}: {error}")
        else:
            return name, ffi, lib
    raise ImportError(
        "libsecp256k1 is missing: install coincurve or btclib-secp256k1 with pip, or the system's "
        f"package of libsecp256k1 ({'; '.join(reasons)})"
    )


def _new_context() -> Any:
    context = lib.secp256k1_context_create(_CONTEXT_NONE)
    # Blinds the multiplications with a secret against side channels. Once: afterwards libsecp256k1
    # only reads the context, so it is safe to share between threads.
    if not lib.secp256k1_context_randomize(context, os.urandom(32)):
        raise ImportError("libsecp256k1 could not be started")
    return context


name, ffi, lib = load(os.environ.get("BUNKER_LIBSECP256K1", ""))
CONTEXT: Final = _new_context()
