"""Reading another process's memory for a secret in every form that it can have there."""

from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_CHUNK = 16 * 1024 * 1024
_OVERLAP = 128
_UNUSED = bytes(64 * 1024)
_EDGE = bytes(32)


@dataclass(frozen=True)
class Found:
    """Copies of a secret in a process: whole ones in any form, and pieces beside whole ones."""

    whole: int
    halves: int
    quarters: int

    @property
    def total(self) -> int:
        return self.whole + self.halves + self.quarters


def scan(pid: int, secrets: dict[str, bytes]) -> dict[str, Found]:
    """Return what is found of each 32-byte secret in all of `pid`'s memory."""
    forms = {name: (_whole(secret), *_pieces(secret)) for name, secret in secrets.items()}
    counts = {name: [0, 0, 0] for name in secrets}
    for memory in _regions(pid):
        for name, kinds in forms.items():
            if not any(piece in memory for piece in (*kinds[2], *_texts(secrets[name]))):
                continue
            for index, patterns in enumerate(kinds):
                counts[name][index] += sum(memory.count(pattern) for pattern in patterns)
    # A whole raw copy holds two halves, a half two quarters: count what is left over.
    return {
        name: Found(whole, max(0, halves - 2 * whole), max(0, quarters - 2 * halves))
        for name, (whole, halves, quarters) in counts.items()
    }


def _whole(secret: bytes) -> list[bytes]:
    number = int.from_bytes(secret)
    negated = ((_ORDER - number) % _ORDER).to_bytes(32)
    return [
        secret,
        secret[::-1],  # libsecp256k1's scalar: little-endian limbs
        negated,
        negated[::-1],
        _python_digits(number),
        *_texts(secret),
    ]


def _texts(secret: bytes) -> list[bytes]:
    hexadecimal = secret.hex().encode()
    return [hexadecimal, hexadecimal.upper(), b64encode(secret)[:42]]


def _python_digits(number: int) -> bytes:
    """The number as CPython stores it: 30 bits in each 32-bit word."""
    words = [number >> shift & (1 << 30) - 1 for shift in range(0, 256, 30)]
    return b"".join(word.to_bytes(4, "little") for word in words)


def _pieces(secret: bytes) -> tuple[list[bytes], list[bytes]]:
    both = (secret, secret[::-1])
    halves = [side[start : start + 16] for side in both for start in (0, 16)]
    quarters = [side[start : start + 8] for side in both for start in (0, 8, 16, 24)]
    return halves, quarters


def _regions(pid: int) -> list[bytes]:
    """All memory that can be read and was written, in chunks that overlap by more than a secret."""
    found: list[bytes] = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            addresses, permissions, _, _, inode, *_ = line.split()
            # A file that is mapped without the right to write holds what the file holds.
            if "r" not in permissions or (inode != "0" and "w" not in permissions):
                continue
            if line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            start, end = (int(address, 16) for address in addresses.split("-"))
            tail = b""
            while start < end:
                try:
                    memory.seek(start)
                    chunk = memory.read(min(_CHUNK, end - start))
                except OSError:  # memfd_secret: the kernel itself can't read it
                    break
                if not chunk:
                    break
                found += used(tail + chunk)
                tail = chunk[-_OVERLAP:]
                start += len(chunk)
    return found


def used(memory: bytes) -> list[bytes]:
    """Leave out long runs of zeros, the stacks and heaps that nobody has written to yet.

    What stands beside such a run keeps as many zeros as a secret could begin or end with.
    """
    return [_EDGE + part + _EDGE for part in memory.split(_UNUSED) if part]
