"""Ask whether every pinned dependency has a wheel for each Python and platform that we name.

`python .ci/wheels.py UV requirements/run.txt`: a gap is seen here before a user sees it. The gaps
that are known stand below; one that has closed is an error, too, so that the list stays true.
"""

import subprocess
import sys
import tempfile
from typing import Final

PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14", "3.15")
PLATFORMS: Final = {
    "Linux x86-64": "x86_64-unknown-linux-gnu",
    "Linux ARM64": "aarch64-unknown-linux-gnu",
    "Alpine x86-64": "x86_64-unknown-linux-musl",
    "Alpine ARM64": "aarch64-unknown-linux-musl",
    "macOS ARM64": "aarch64-apple-darwin",
    "macOS x86-64": "x86_64-apple-darwin",
}
# Python 3.15 came out a month before these pins: of orjson it has wheels for glibc 2.39 and newer
# alone, and uv asks for 2.28.
# cryptography has none for Intel Macs any more: there it is built, with Rust.
KNOWN: Final = {
    ("3.15", "Linux x86-64"),
    ("3.15", "Linux ARM64"),
    *((python, "macOS x86-64") for python in PYTHONS),
}


def main(uv: str, requirements: str) -> int:
    """Print the table; return 1 when it is not as expected, 0 otherwise."""
    wrong = 0
    for python in PYTHONS:
        for name, platform in PLATFORMS.items():
            lacking = _lacking(uv, requirements, python, platform)
            if lacking is None:
                sys.stdout.write("not asked: the package index is out of reach\n")
                return 0
            known = (python, name) in KNOWN
            mark = "ok" if not lacking else f"no wheel: {lacking}"
            if bool(lacking) is not known:
                wrong = 1
                mark += "  <- not expected" if lacking else "  <- closed: take it out of KNOWN"
            sys.stdout.write(f"{python:<5} {name:<14} {mark}\n")
    return wrong


def _lacking(uv: str, requirements: str, python: str, platform: str) -> str | None:
    """Return what has no wheel, "" for nothing, None where nobody could be asked."""
    with tempfile.TemporaryDirectory() as folder:
        command = [uv, "pip", "install", "--dry-run", "--target", folder, "--only-binary", ":all:"]
        command += ["--python-version", python, "--python-platform", platform]
        command += ["--require-hashes", "-r", requirements]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode == 0:
        return ""
    if "required for `" in done.stderr:
        return done.stderr.partition("required for `")[2].partition("`")[0]
    return None if "error sending request" in done.stderr else done.stderr.strip()[-300:]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
